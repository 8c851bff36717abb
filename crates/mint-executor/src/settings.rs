//! What the executor is started with besides what every service is.

use std::num::ParseIntError;
use std::sync::Arc;
use std::time::Duration;

use chain::fees::{DEFAULT_TX_FEE_CAP, FeePolicy};
use chain::signer::pkcs11::{Token, TokenConfig};
use chain::{LocalKey, RpcConfig, Signer};
use domain::address::Address;
use messaging::Service;
use runtime::SettingError;
use runtime::settings::{ContractSettings, RpcSettings, SecretSource, value};
use secrecy::ExposeSecret;

use crate::rules::batching::BatchLimits;

const GWEI: u128 = 1_000_000_000;

/// A holder that hangs inside a transaction keeps the rows of its signers for so long, and one that takes in a block
/// those of every signer: less than a lease, so that a standby waits for the lease alone. A token, which may take 2 s,
/// signs outside.
pub const IDLE_IN_TRANSACTION: Duration = Duration::from_secs(3);

/// Turns each command into exactly one effect on chain: signs, broadcasts and follows the transactions.
///
/// Each setting is a variable or a flag, which goes first. Secrets come from a variable or from a file alone.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "mint-executor", version, after_help = EXAMPLES)]
pub struct ExecutorSettings {
    #[command(flatten)]
    pub shared: runtime::Settings,
    #[command(flatten)]
    pub contracts: ContractSettings,
    #[command(flatten)]
    pub rpc: RpcSettings,
    #[command(flatten)]
    pub signing: SigningSettings,
    #[command(flatten)]
    pub tuning: Tuning,
}

impl runtime::ServiceSettings for ExecutorSettings {
    const SERVICE: Service = Service::MintExecutor;

    fn shared(&self) -> runtime::Settings {
        runtime::Settings {
            database_idle_in_transaction: Some(IDLE_IN_TRANSACTION),
            ..self.shared.clone()
        }
    }
}

const EXAMPLES: &str = "Examples:
  DATABASE_URL_FILE=/run/secrets/database AMQP_URL_FILE=/run/secrets/broker FIATRAILS_KEYS_DIR=/run/keys \\
    RPC_URLS_FILE=/run/secrets/rpc EXECUTOR_PRIVATE_KEY_FILE=/run/secrets/key ESCROW_ADDRESS=0x... \\
    TREASURY_ADDRESS=0x... mint-executor --executor-fee-cap-gwei 200
  ADMIN_ADDR=127.0.0.1:9090 mint-executor --check-ready";

impl ExecutorSettings {
    pub fn rpc(&self) -> Result<RpcConfig, SettingError> {
        let timeout = Duration::from_millis(self.shared.limits.policy.chain.rpc_timeout_ms);
        Ok(RpcConfig::new(self.rpc.rpc_urls.list()?, timeout))
    }
}

/// Keys of both kinds work side by side: during a rotation from memory to an HSM, both do.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Signing keys")]
pub struct SigningSettings {
    /// Key that signs transactions, 64 hexadecimal digits, or several with white space between them
    #[arg(
        id = "local_keys",
        long = "executor-private-key",
        env = "EXECUTOR_PRIVATE_KEY",
        value_name = "KEYS",
        required_unless_present = "token_keys"
    )]
    local: Option<SecretSource>,
    /// Labels of keys in a PKCS#11 token, with white space or commas between them
    #[arg(
        id = "token_keys",
        long = "executor-pkcs11-keys",
        env = "EXECUTOR_PKCS11_KEYS",
        value_name = "LABELS",
        requires = "token_module",
        requires = "token_label",
        requires = "token_pin"
    )]
    token: Option<String>,
    /// The token's library
    #[arg(
        id = "token_module",
        long = "executor-pkcs11-module",
        env = "EXECUTOR_PKCS11_MODULE",
        value_name = "FILE"
    )]
    module: Option<String>,
    /// Label of the token
    #[arg(
        id = "token_label",
        long = "executor-pkcs11-token",
        env = "EXECUTOR_PKCS11_TOKEN",
        value_name = "LABEL"
    )]
    label: Option<String>,
    /// PIN of the token's user
    #[arg(
        id = "token_pin",
        long = "executor-pkcs11-pin",
        env = "EXECUTOR_PKCS11_PIN",
        value_name = "PIN"
    )]
    pin: Option<SecretSource>,
}

impl SigningSettings {
    /// At least one key, no two alike.
    pub fn open(&self) -> Result<Vec<Arc<dyn Signer>>, SettingError> {
        let mut signers = self.in_token()?;
        signers.extend(self.in_memory()?);
        let mut addresses: Vec<Address> = signers.iter().map(|signer| signer.address()).collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() || addresses.len() < signers.len() {
            return Err(SettingError::invalid(
                "EXECUTOR_PRIVATE_KEY",
                "no key, or the same key twice",
            ));
        }
        Ok(signers)
    }

    fn in_memory(&self) -> Result<Vec<Arc<dyn Signer>>, SettingError> {
        let Some(source) = &self.local else {
            return Ok(Vec::new());
        };
        let keys = source.value().expose_secret().split_whitespace().map(|hex| {
            let key = LocalKey::from_hex(&hex.into()).map_err(|error| source.unfit(error))?;
            Ok(Arc::new(key) as Arc<dyn Signer>)
        });
        keys.collect()
    }

    fn in_token(&self) -> Result<Vec<Arc<dyn Signer>>, SettingError> {
        let labels = self.token.as_deref().unwrap_or_default();
        let labels: Vec<&str> = labels
            .split([',', ' ', '\n', '\t'])
            .filter(|label| !label.is_empty())
            .collect();
        let (Some(module), Some(label), Some(pin)) = (&self.module, &self.label, &self.pin) else {
            return Ok(Vec::new());
        };
        if labels.is_empty() {
            return Ok(Vec::new());
        }
        let unfit = |error| SettingError::invalid("EXECUTOR_PKCS11_KEYS", error);
        let token = Token::open(TokenConfig {
            module: module.into(),
            label: label.clone(),
            pin: pin.value().clone(),
        });
        let token = token.map_err(unfit)?;
        let keys = labels.into_iter().map(|label| {
            let key = token.key(label).map_err(unfit)?;
            Ok(Arc::new(key) as Arc<dyn Signer>)
        });
        keys.collect()
    }
}

/// Figures an operator may turn; the defaults suit one-second blocks.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Batches, fees and pace")]
pub struct Tuning {
    /// Most commands in one transaction
    #[arg(
        id = "max_items",
        long = "executor-max-batch",
        env = "EXECUTOR_MAX_BATCH",
        value_name = "COMMANDS",
        default_value = "64"
    )]
    pub max_items: usize,
    /// Most gas of one transaction
    #[arg(
        id = "max_gas",
        long = "executor-max-batch-gas",
        env = "EXECUTOR_MAX_BATCH_GAS",
        value_name = "GAS",
        default_value = "16000000"
    )]
    pub max_gas: u64,
    /// Most that is paid for a unit of gas, all included
    #[arg(
        id = "max_fee_per_gas",
        long = "executor-fee-cap-gwei",
        env = "EXECUTOR_FEE_CAP_GWEI",
        value_name = "GWEI",
        default_value = "500",
        value_parser = gwei
    )]
    pub max_fee_per_gas: u128,
    /// Tip for a unit of gas
    #[arg(
        id = "priority_fee_per_gas",
        long = "executor-priority-fee-gwei",
        env = "EXECUTOR_PRIORITY_FEE_GWEI",
        value_name = "GWEI",
        default_value = "1",
        value_parser = gwei
    )]
    pub priority_fee_per_gas: u128,
    /// Most that one transaction may cost. Nodes have their own limit (`--rpc.txfeecap` of geth and reth, one ether
    /// by default), to be raised there too
    #[arg(
        id = "tx_fee_cap",
        long = "executor-transaction-ceiling-wei",
        env = "EXECUTOR_TRANSACTION_CEILING_WEI",
        value_name = "WEI",
        default_value_t = DEFAULT_TX_FEE_CAP
    )]
    pub tx_fee_cap: u128,
    /// How long the first command of a batch waits for others
    #[arg(
        id = "linger",
        long = "executor-linger-ms",
        env = "EXECUTOR_LINGER_MS",
        value_name = "MILLISECONDS",
        default_value = "4",
        value_parser = value::millis
    )]
    pub linger: Duration,
    /// Minimum time between two batches of a command that are not full
    #[arg(
        id = "spacing",
        long = "executor-spacing-ms",
        env = "EXECUTOR_SPACING_MS",
        value_name = "MILLISECONDS",
        default_value = "75",
        value_parser = value::millis
    )]
    pub spacing: Duration,
    /// Maximum number of transactions of a key without a block; fewer while the chain does not keep up
    #[arg(
        id = "max_in_flight",
        long = "executor-max-in-flight",
        env = "EXECUTOR_MAX_IN_FLIGHT",
        value_name = "TRANSACTIONS",
        default_value = "32"
    )]
    pub max_in_flight: u64,
    /// How long a transaction may wait for its block before it is signed again at a higher price, at least 1
    #[arg(
        id = "replace_after",
        long = "executor-replace-after-blocks",
        env = "EXECUTOR_REPLACE_AFTER_BLOCKS",
        value_name = "BLOCKS",
        default_value = "5",
        value_parser = at_least_one
    )]
    pub replace_after: u64,
    /// Maximum time between two polls of the head
    #[arg(
        id = "poll",
        long = "executor-poll-ms",
        env = "EXECUTOR_POLL_MS",
        value_name = "MILLISECONDS",
        default_value = "150",
        value_parser = value::millis
    )]
    pub poll: Duration,
    /// How long a signing key stays with an executor that is no longer heard of
    #[arg(
        id = "lease",
        long = "executor-lease-ms",
        env = "EXECUTOR_LEASE_MS",
        value_name = "MILLISECONDS",
        default_value = "5000",
        value_parser = value::millis
    )]
    pub lease: Duration,
    #[arg(skip = Duration::from_secs(2))]
    pub heartbeat: Duration,
    /// Below this the signer counts as out of gas, wei.
    #[arg(skip = 10_000_000_000_000_000_u128)]
    pub min_signer_balance: u128,
}

impl Tuning {
    pub fn batch_limits(&self) -> BatchLimits {
        BatchLimits {
            max_items: self.max_items,
            max_gas: self.max_gas,
        }
    }

    pub fn fees(&self) -> FeePolicy {
        FeePolicy {
            max_fee_per_gas: self.max_fee_per_gas,
            priority_fee_per_gas: self.priority_fee_per_gas,
            tx_fee_cap: self.tx_fee_cap,
        }
    }
}

fn gwei(text: &str) -> Result<u128, ParseIntError> {
    text.parse::<u64>().map(|gwei| u128::from(gwei) * GWEI)
}

fn at_least_one(text: &str) -> Result<u64, ParseIntError> {
    text.parse().map(|blocks: u64| blocks.max(1))
}
