//! What the executor reads of its environment besides what every process reads.

use std::sync::Arc;
use std::time::Duration;

use chain::fees::{DEFAULT_TX_FEE_CAP, FeePolicy};
use chain::signer::pkcs11::{Token, TokenConfig};
use chain::{LocalKey, RpcConfig, Signer};
use domain::address::Address;
use runtime::{Environment, SettingError, Settings};
use secrecy::ExposeSecret;

use crate::batch::BatchLimits;

const GWEI: u128 = 1_000_000_000;

/// A holder that hangs inside a transaction keeps the rows of its signers for so long, and one that takes in a block
/// those of every signer: less than a lease, so that a standby waits for the lease alone. A token, which may take 2 s,
/// signs outside.
const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(3);

/// Figures an operator may turn; the defaults suit one-second blocks.
#[derive(Clone, Copy, Debug)]
pub struct Tuning {
    pub bounds: BatchLimits,
    pub fees: FeePolicy,
    /// Wait for company before the first batch of a command.
    pub linger: Duration,
    /// Least distance between two batches of a command that are not full.
    pub spacing: Duration,
    /// Most transactions of a key without a block at once; fewer while the chain does not keep up.
    pub max_in_flight: u64,
    /// Blocks that a transaction may wait for its block before it is signed again at a higher price.
    pub replace_after: u64,
    /// Longest distance between two looks at the head.
    pub poll: Duration,
    pub lease: Duration,
    pub heartbeat: Duration,
    /// Below this the signer counts as out of gas, wei.
    pub min_signer_balance: u128,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            bounds: BatchLimits {
                max_items: 64,
                max_gas: 16_000_000,
            },
            fees: FeePolicy {
                max_fee_per_gas: 500 * GWEI,
                priority_fee_per_gas: GWEI,
                tx_fee_cap: DEFAULT_TX_FEE_CAP,
            },
            linger: Duration::from_millis(4),
            spacing: Duration::from_millis(75),
            max_in_flight: 32,
            replace_after: 5,
            poll: Duration::from_millis(150),
            lease: Duration::from_secs(5),
            heartbeat: Duration::from_secs(2),
            min_signer_balance: 10_000_000_000_000_000,
        }
    }
}

/// Everything the executor is built from.
pub struct ExecutorSettings {
    pub process: Settings,
    pub rpc: RpcConfig,
    pub escrow: Address,
    pub treasury: Address,
    /// At least one, no two alike.
    pub signers: Vec<Arc<dyn Signer>>,
    pub tuning: Tuning,
}

impl ExecutorSettings {
    pub fn read(environment: &Environment) -> Result<Self, SettingError> {
        let mut process = Settings::read(environment)?;
        process.database_idle_in_transaction = Some(IDLE_IN_TRANSACTION);
        let contracts = environment.contracts()?;
        let timeout = Duration::from_millis(process.policy.chain.rpc_timeout_ms);
        Ok(Self {
            rpc: RpcConfig::new(environment.rpc_urls()?, timeout),
            escrow: contracts.escrow,
            treasury: contracts.treasury,
            signers: signers(environment)?,
            tuning: tuning(environment)?,
            process,
        })
    }
}

const LOCAL: &str = "EXECUTOR_PRIVATE_KEY";
const IN_TOKEN: &str = "EXECUTOR_PKCS11_KEYS";

/// Keys of both kinds work side by side: during a rotation from memory to an HSM, both do.
fn signers(environment: &Environment) -> Result<Vec<Arc<dyn Signer>>, SettingError> {
    let mut signers = in_token(environment)?;
    if signers.is_empty() || environment.secret(LOCAL)?.is_some() {
        signers.extend(local(environment)?);
    }
    let mut addresses: Vec<Address> = signers.iter().map(|signer| signer.address()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    if addresses.is_empty() || addresses.len() < signers.len() {
        return Err(SettingError::invalid(LOCAL, "no key, or the same key twice"));
    }
    Ok(signers)
}

/// `EXECUTOR_PRIVATE_KEY`: one key, or several with white space between them.
fn local(environment: &Environment) -> Result<Vec<Arc<dyn Signer>>, SettingError> {
    let text = environment.required_secret(LOCAL)?;
    let keys = text.expose_secret().split_whitespace().map(|one| {
        let key = LocalKey::from_hex(&one.into()).map_err(|error| SettingError::invalid(LOCAL, error))?;
        Ok(Arc::new(key) as Arc<dyn Signer>)
    });
    keys.collect()
}

/// `EXECUTOR_PKCS11_KEYS`: labels of keys in a token, with white space or commas between them.
fn in_token(environment: &Environment) -> Result<Vec<Arc<dyn Signer>>, SettingError> {
    let labels = environment.text(IN_TOKEN).unwrap_or_default();
    let labels: Vec<&str> = labels
        .split([',', ' ', '\n', '\t'])
        .filter(|label| !label.is_empty())
        .collect();
    if labels.is_empty() {
        return Ok(Vec::new());
    }
    let config = TokenConfig {
        module: environment.required("EXECUTOR_PKCS11_MODULE")?.into(),
        label: environment.required("EXECUTOR_PKCS11_TOKEN")?.to_owned(),
        pin: environment.required_secret("EXECUTOR_PKCS11_PIN")?,
    };
    let unfit = |error| SettingError::invalid(IN_TOKEN, error);
    let token = Token::open(config).map_err(unfit)?;
    let keys = labels.into_iter().map(|label| {
        let key = token.key(label).map_err(unfit)?;
        Ok(Arc::new(key) as Arc<dyn Signer>)
    });
    keys.collect()
}

fn tuning(environment: &Environment) -> Result<Tuning, SettingError> {
    let base = Tuning::default();
    let millis = |name, default: Duration| {
        environment
            .parsed::<u64>(name)
            .map(|found| found.map_or(default, Duration::from_millis))
    };
    let gwei = |name, default: u128| {
        environment
            .parsed::<u64>(name)
            .map(|found| found.map_or(default, |value| u128::from(value) * GWEI))
    };
    Ok(Tuning {
        bounds: BatchLimits {
            max_items: environment.parsed_or("EXECUTOR_MAX_BATCH", base.bounds.max_items)?,
            max_gas: environment.parsed_or("EXECUTOR_MAX_BATCH_GAS", base.bounds.max_gas)?,
        },
        fees: FeePolicy {
            max_fee_per_gas: gwei("EXECUTOR_FEE_CAP_GWEI", base.fees.max_fee_per_gas)?,
            priority_fee_per_gas: gwei("EXECUTOR_PRIORITY_FEE_GWEI", base.fees.priority_fee_per_gas)?,
            // No node takes more than its own (`--rpc.txfeecap` of geth and reth); a higher one here needs it raised there.
            tx_fee_cap: environment.parsed_or("EXECUTOR_TRANSACTION_CEILING_WEI", base.fees.tx_fee_cap)?,
        },
        linger: millis("EXECUTOR_LINGER_MS", base.linger)?,
        spacing: millis("EXECUTOR_SPACING_MS", base.spacing)?,
        max_in_flight: environment.parsed_or("EXECUTOR_MAX_IN_FLIGHT", base.max_in_flight)?,
        replace_after: environment
            .parsed_or("EXECUTOR_REPLACE_AFTER_BLOCKS", base.replace_after)?
            .max(1),
        poll: millis("EXECUTOR_POLL_MS", base.poll)?,
        lease: millis("EXECUTOR_LEASE_MS", base.lease)?,
        ..base
    })
}
