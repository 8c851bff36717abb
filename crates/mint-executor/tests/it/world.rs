//! A private database and a private chain that mines on request, and the executors over them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use chain::compliance::Assessment;
use chain::{ChainClient, LocalKey, RpcConfig, Signer};
use domain::address::Address;
use domain::clock::{IdSource, SystemSource};
use domain::country::CountryCode;
use domain::ids::Preimage;
use domain::policy::Policy;
use messaging::{Broker, BrokerConfig, Opener, Publisher, Sealer, Service};
use mint_executor::settings::Tuning;
use mint_executor::steps::{Executor, ExecutorParts};
use runtime::halts::Halts;
use runtime::{Environment, KeyDirectory};
use serde_json::json;
use storage::{Pool, PoolConfig};
use testkit::anvil::{ADMIN_PRIVATE_KEY, EXECUTOR_PRIVATE_KEY, Mining};
use testkit::{Addresses, Anvil, Database, DevKeys, Servers};

use crate::rig::TestExecutor;

pub const PAUSE: [u8; 4] = [0x84, 0x56, 0xcb, 0x59];
pub const UNPAUSE: [u8; 4] = [0x3f, 0x4b, 0xa8, 0x3a];

/// What makes a user compliant.
pub const COMPLIANT: Assessment = Assessment {
    risk_score: 10,
    attestation: [7; 32],
    verified: true,
};

pub struct TestEnvironment {
    pub db: Database,
    pub node: Anvil,
    pub at: Addresses,
    /// Connects with the executor's rights only.
    pub db_url: String,
    keys: tempfile::TempDir,
    pub admin: LocalKey,
}

impl TestEnvironment {
    pub async fn new() -> Result<Self> {
        let servers = Servers::shared()?;
        let (node, at) = Anvil::deployed(Mining::Manual).await?;
        let keys = tempfile::tempdir()?;
        DevKeys::generate(keys.path())?;
        let db = servers.database().await?;
        Ok(Self {
            db_url: db.login("executor")?,
            db,
            node,
            at,
            keys,
            admin: ADMIN_PRIVATE_KEY.parse()?,
        })
    }

    pub fn keys_dir(&self, service: &str) -> String {
        self.keys.path().join(service).to_string_lossy().into_owned()
    }

    /// Another executor over the same rows, as after a restart.
    pub fn executor(&self) -> ExecutorBuilder<'_> {
        ExecutorBuilder {
            world: self,
            nodes: vec![self.node.url()],
            timeout: Duration::from_millis(1500),
            keys: vec![EXECUTOR_PRIVATE_KEY.to_owned()],
            signer: None,
            policy: Vec::new(),
        }
    }

    pub fn intent(&self, n: u64) -> Result<Preimage> {
        let mut user = [0x42; 20];
        user[12..].copy_from_slice(&n.to_be_bytes());
        Ok(Preimage {
            chain_id: testkit::anvil::CHAIN_ID,
            escrow: self.at.escrow.parse()?,
            depositor: self.at.treasury.parse()?,
            user: Address::from_bytes(user)?,
            amount: "150000000000000000000".parse()?,
            country_code: CountryCode::KES,
            tx_ref: format!("TX{n:010}").parse()?,
        })
    }

    /// An intent whose user is compliant.
    pub async fn compliant_intent(&self, n: u64, chain: &ChainClient) -> Result<Preimage> {
        let intent = self.intent(n)?;
        let manager = self.at.compliance_manager.parse()?;
        self.automine(true).await?;
        let set = chain.set_user_compliance(
            &self.admin,
            &manager,
            &intent.user,
            &COMPLIANT,
            Duration::from_secs(5),
        );
        set.await?;
        self.automine(false).await?;
        Ok(intent)
    }

    pub async fn as_admin(&self, chain: &ChainClient, data: &[u8]) -> Result<()> {
        self.automine(true).await?;
        chain
            .transact(
                &self.admin,
                &chain.escrow(),
                data.to_vec(),
                Duration::from_secs(5),
            )
            .await?;
        self.automine(false).await
    }

    pub async fn automine(&self, on: bool) -> Result<()> {
        self.node.rpc("evm_setAutomine", json!([on])).await.map(drop)
    }

    pub async fn minted(&self, chain: &ChainClient, user: &Address) -> Result<u128> {
        Ok(chain
            .token_balance(&self.at.country_token.parse()?, user, chain::BlockRef::Latest)
            .await?)
    }

    /// Restarts the node with all blocks and logs but only the state of the head, like a full node.
    pub async fn drop_old_state(&mut self) -> Result<()> {
        let state = self.node.rpc("anvil_dumpState", json!([])).await?;
        self.node = Anvil::start_with(testkit::anvil::Options {
            mining: Mining::Manual,
            ..Default::default()
        })
        .await?;
        self.node.rpc("anvil_loadState", json!([state])).await?;
        Ok(())
    }

    /// Expires all leases, as if their holder had hung for longer than that.
    pub fn expire_leases(&self) -> Result<()> {
        self.db.sql("update signers set lease_until = now()")?;
        self.db
            .sql("update block_follower_lease set lease_until = now()")
            .map(drop)
    }

    /// Ends the delay of every item.
    pub fn end_item_delays(&self) -> Result<()> {
        self.db.sql("update work_items set not_before = now()").map(drop)
    }

    /// Mines a block with that base fee.
    pub async fn block_with_base_fee(&self, base_fee: u64) -> Result<()> {
        let fee = json!([format!("0x{base_fee:x}")]);
        self.node.rpc("anvil_setNextBlockBaseFeePerGas", fee).await?;
        self.node.mine(1).await
    }

    /// Grants or revokes EXECUTOR_ROLE.
    pub async fn set_role(&self, chain: &ChainClient, signer: &Address, on: bool) -> Result<()> {
        let call = if on {
            chain::roles::grant_executor(signer)
        } else {
            chain::roles::revoke_executor(signer)
        };
        self.as_admin(chain, &call).await
    }

    pub async fn fund(&self, account: &Address, wei: u128) -> Result<()> {
        let balance = json!([account.to_string(), format!("{wei:#x}")]);
        self.node.rpc("anvil_setBalance", balance).await.map(drop)
    }

    pub fn count(&self, sql: &str) -> Result<u64> {
        Ok(self.db.sql(sql)?.parse()?)
    }
}

/// What an executor of a test differs in from the usual one.
pub struct ExecutorBuilder<'a> {
    world: &'a TestEnvironment,
    nodes: Vec<String>,
    timeout: Duration,
    keys: Vec<String>,
    signer: Option<Arc<dyn Signer>>,
    policy: Vec<(String, String)>,
}

impl ExecutorBuilder<'_> {
    pub fn node(self, url: &str) -> Self {
        self.nodes(&[url.to_owned()])
    }

    /// Several nodes, in order of preference.
    pub fn nodes(mut self, urls: &[String]) -> Self {
        self.nodes = urls.to_vec();
        self
    }

    /// How long each answer of a node may take.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    pub fn keys(mut self, keys: &[&str]) -> Self {
        self.keys = keys.iter().map(|key| (*key).to_owned()).collect();
        self
    }

    /// Its only signer.
    pub fn signer(mut self, signer: Arc<dyn Signer>) -> Self {
        self.signer = Some(signer);
        self
    }

    /// A block is final when the chain's `finalized` tag says so.
    pub fn finalized_tag(self) -> Self {
        self.policy("FIATRAILS_POLICY_CHAIN_FINALITY", "finalizedTag")
    }

    /// A block is final after that many confirmations.
    pub fn confirmations(self, confirmations: u64) -> Self {
        self.policy("FIATRAILS_POLICY_CHAIN_CONFIRMATIONS", &confirmations.to_string())
    }

    fn policy(mut self, field: &str, value: &str) -> Self {
        self.policy.push((field.to_owned(), value.to_owned()));
        self
    }

    fn signers(&self) -> Result<Vec<Arc<dyn Signer>>> {
        if let Some(signer) = &self.signer {
            return Ok(vec![signer.clone()]);
        }
        let keys = self.keys.iter();
        keys.map(|key| Ok(Arc::new(key.parse::<LocalKey>()?) as Arc<dyn Signer>))
            .collect()
    }

    pub fn build(self) -> Result<TestExecutor> {
        let world = self.world;
        let policy = Policy::load(
            include_str!("../../../../deploy/policy.json"),
            self.policy.clone(),
        )?;
        let urls = self.nodes.iter().map(|url| url.as_str().into()).collect();
        let chain = ChainClient::new(&RpcConfig::new(urls, self.timeout), world.at.escrow.parse()?)?;
        let keys = KeyDirectory::open(&DevKeys::generate(world.keys.path())?.dir("mint-executor"))?;
        let broker = Broker::new(BrokerConfig {
            url: "amqp://nobody:nothing@127.0.0.1:1/none".into(),
            service: Service::MintExecutor,
            version: "test".into(),
            ca_pem: None,
        })?;
        let tuning = Tuning {
            lease: Duration::from_mins(1),
            ..Environment::default().read()?
        };
        let (instance, halts) = (SystemSource.uuid(), Arc::new(Halts::default()));
        let pool = Pool::new(&PoolConfig::new(world.db_url.clone().into(), "test"))?;
        let (opener, sealer) = (Opener::new(keys.pipeline()), Sealer::new(keys.pipeline()));
        let steps = Executor::new(ExecutorParts {
            instance,
            pool: pool.clone(),
            chain: chain.clone(),
            signers: self.signers()?,
            policy,
            tuning,
            keys: keys.clone(),
            opener: opener.clone(),
            sealer: sealer.clone(),
            publisher: Publisher::new(&broker),
            clock: Arc::new(SystemSource),
            ids: Arc::new(SystemSource),
            relay: runtime::relay::RelayNotifier::default(),
            halts: halts.clone(),
            problem: None,
        });
        Ok(TestExecutor {
            signers: steps.signers.iter().cloned().collect(),
            steps,
            instance,
            pool,
            chain,
            tuning,
            keys,
            opener,
            sealer,
            halts,
        })
    }
}
