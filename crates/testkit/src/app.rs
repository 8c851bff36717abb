//! The whole product for one test: a private database, virtual host, chain and keys, and the three services.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    Addresses, Anvil, ChildService, Database, DevKeys, Servers, Vhost,
    anvil::{Mining, Options as ChainOptions},
    client::{Client, fresh_key, intent_body, paid_body},
    dirs, evm,
    process::tail,
    wait::eventually,
    wiring::{CALLBACK, EXECUTOR, GATEWAY, Wiring},
};

/// Settings of a test that differ from the defaults.
#[derive(Debug, Clone)]
pub struct Options {
    pub mining: Mining,
    /// Settings for every service, e.g. `FIATRAILS_POLICY_WINDOWS_REDRIVE_SECONDS`.
    pub extra: Vec<(String, String)>,
    /// Services that are not started; see [`App::start_service`].
    pub without: Vec<&'static str>,
    /// The servers, if not the shared ones: a test that kills a server starts its own.
    pub servers: Option<Servers>,
    /// Blocks begin at this snapshot, if not at the shared one.
    pub chain_state: Option<(PathBuf, Addresses)>,
    /// Reach PostgreSQL, the broker or the node by another address (a proxy's).
    pub database_through: Option<String>,
    pub amqp_through: Option<String>,
    pub rpc_through: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mining: Mining::Every(1.0),
            extra: vec![
                ("FIATRAILS_POLICY_CHAIN_CONFIRMATIONS".into(), "2".into()),
                ("FIATRAILS_POLICY_CHAIN_BLOCK_TIME_MS".into(), "1000".into()),
                ("FIATRAILS_POLICY_WINDOWS_REDRIVE_SECONDS".into(), "4".into()),
            ],
            without: Vec::new(),
            servers: None,
            chain_state: None,
            database_through: None,
            amqp_through: None,
            rpc_through: None,
        }
    }
}

/// Fields are dropped in this order: services before what they are connected to.
#[derive(Debug)]
pub struct App {
    pub gateway: Option<ChildService>,
    pub executor: Option<ChildService>,
    pub callback: Option<ChildService>,
    pub wiring: Wiring,
    pub chain: Anvil,
    pub addresses: Addresses,
    pub vhost: Vhost,
    pub database: Database,
    pub keys: DevKeys,
    /// Prints no logs when it is dropped; see [`App::logs`].
    pub quiet: bool,
    _dir: TempDir,
}

/// Lines of each service's log that are shown when a test ends.
const SHOWN_LINES: usize = 60;

/// The test runner shows the output of failed tests only, so this costs the others nothing.
impl Drop for App {
    fn drop(&mut self) {
        if self.quiet {
            return;
        }
        for (service, log) in self.logs() {
            eprintln!("== the end of {service}'s log\n{}", tail(&log, SHOWN_LINES));
        }
    }
}

/// The shared broker's users are shared by all tests: one password for all, so that none overwrites another's.
const AMQP_PASSWORD: &str = "testkit-broker-password";

impl App {
    pub async fn start() -> Result<Self> {
        Self::start_with(Options::default()).await
    }

    pub async fn start_with(options: Options) -> Result<Self> {
        let servers = options.servers.clone().map_or_else(Servers::shared, Ok)?;
        let (state, addresses) = options
            .chain_state
            .clone()
            .map_or_else(Servers::chain_state, Ok)?;
        let chain_options = ChainOptions {
            mining: options.mining,
            load_state: Some(state),
            ..ChainOptions::default()
        };
        let (database, vhost, chain) = tokio::try_join!(
            servers.database(),
            servers.vhost(),
            Anvil::start_with(chain_options)
        )?;
        let dir = dirs::private("app")?;
        let keys = DevKeys::generate(dir.path())?;
        let password = database.logins_for_services()?;
        let mut wiring = Wiring {
            database_url: database.url(),
            login_prefix: format!("{}_", database.name()),
            database_password: password,
            amqp_url: vhost.url(),
            amqp_management_url: servers.amqp_management_url.clone(),
            amqp_password: AMQP_PASSWORD.into(),
            rpc_url: chain.url(),
            addresses: addresses.clone(),
            keys: keys.clone(),
            extra: options.extra.clone(),
        };
        wiring.extra.push(("LISTEN_ADDR".into(), "127.0.0.1:0".into()));
        wiring.fiatrails(&["topology", "declare", "--users"]).await?;
        register_dev_integrator(&database)?;
        let direct = |through: &Option<String>, url: &str| through.clone().unwrap_or_else(|| url.to_owned());
        wiring.database_url = direct(&options.database_through, &wiring.database_url);
        wiring.amqp_url = direct(&options.amqp_through, &wiring.amqp_url);
        wiring.rpc_url = direct(&options.rpc_through, &wiring.rpc_url);
        let mut app = Self {
            gateway: None,
            executor: None,
            callback: None,
            wiring,
            chain,
            addresses,
            vhost,
            database,
            keys,
            quiet: false,
            _dir: dir,
        };
        app.start_services(&options.without).await?;
        Ok(app)
    }

    async fn start_services(&mut self, without: &[&str]) -> Result<()> {
        let wiring = &self.wiring;
        let start = async |service: &'static str| -> Result<Option<ChildService>> {
            if without.contains(&service) {
                return Ok(None);
            }
            ChildService::start(service, wiring.env(service)?).await.map(Some)
        };
        let (gateway, executor, callback) =
            tokio::try_join!(start(GATEWAY), start(EXECUTOR), start(CALLBACK))?;
        (self.gateway, self.executor, self.callback) = (gateway, executor, callback);
        Ok(())
    }

    /// Starts one that was left out, or a second one beside the first.
    pub async fn start_service(&self, service: &str) -> Result<ChildService> {
        ChildService::start(service, self.wiring.env(service)?).await
    }

    /// The log of each service, over all its restarts.
    pub fn logs(&self) -> Vec<(String, String)> {
        let services = [&self.gateway, &self.executor, &self.callback];
        let running = services.into_iter().flatten();
        running
            .map(|service| (service.name().to_owned(), service.log()))
            .collect()
    }

    /// The entry of a service, by its binary's name.
    pub fn service_entry(&mut self, service: &str) -> Result<&mut Option<ChildService>> {
        match service {
            GATEWAY => Ok(&mut self.gateway),
            EXECUTOR => Ok(&mut self.executor),
            CALLBACK => Ok(&mut self.callback),
            other => bail!("no service is called {other}"),
        }
    }

    /// A service that must be running.
    pub fn service(&mut self, service: &str) -> Result<&mut ChildService> {
        self.service_entry(service)?
            .as_mut()
            .with_context(|| format!("this test runs without {service}"))
    }

    pub fn client(&self) -> Result<Client> {
        let gateway = self
            .gateway
            .as_ref()
            .context("this test runs without a gateway")?;
        Client::new(gateway.api_url()?, &self.keys)
    }

    /// Makes a user compliant, so that the escrow mints for it.
    pub async fn make_compliant(&self, user: &str) -> Result<()> {
        evm::set_compliance(&self.chain.url(), &self.addresses, user, 10, true).await
    }

    pub async fn token_balance(&self, user: &str) -> Result<u128> {
        evm::balance_of(&self.chain.url(), &self.addresses.country_token, user).await
    }

    /// Creates an intent that must be accepted; its id.
    pub async fn create_intent(&self, user: &str, shillings: u32, tx_ref: &str) -> Result<String> {
        let reply = self
            .client()?
            .create(&fresh_key()?, &intent_body(user, shillings, tx_ref))
            .await?;
        ensure!(
            reply.status == 201,
            "{}: {}",
            reply.status,
            String::from_utf8_lossy(&reply.body)
        );
        Ok(reply.json()?["intentId"]
            .as_str()
            .context("no intentId")?
            .to_owned())
    }

    /// Reports a payment that must be accepted.
    pub async fn report_payment(&self, tx_ref: &str, shillings: u32, receipt: &str) -> Result<()> {
        let reply = self
            .client()?
            .callback(&paid_body(tx_ref, shillings, receipt)?)
            .await?;
        ensure!(
            reply.status == 200,
            "{}: {}",
            reply.status,
            String::from_utf8_lossy(&reply.body)
        );
        Ok(())
    }

    /// Waits until the public status is `wanted`; the whole intent then.
    pub async fn until_status(&self, intent_id: &str, wanted: &str, timeout: Duration) -> Result<Value> {
        self.until(
            intent_id,
            &format!("{wanted} of {intent_id}"),
            timeout,
            |intent| intent["status"] == wanted,
        )
        .await
    }

    /// Waits until the intent, as its integrator sees it, is as `wanted`.
    pub async fn until(
        &self,
        intent_id: &str,
        what: &str,
        timeout: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Result<Value> {
        let client = self.client()?;
        let seen = std::cell::RefCell::new(Value::Null);
        let waited = eventually(timeout, what, async || {
            let intent = client.read(intent_id).await?.json()?;
            let done = wanted(&intent);
            seen.replace(intent);
            Ok(done.then_some(()))
        })
        .await;
        waited.with_context(|| format!("last seen: {}", seen.borrow()))?;
        Ok(seen.into_inner())
    }
}

/// The development integrator owns every txRef.
pub fn register_dev_integrator(database: &Database) -> Result<()> {
    database.sql(REGISTER_DEV_INTEGRATOR).map(drop)
}

pub const REGISTER_DEV_INTEGRATOR: &str =
    "insert into tx_ref_prefixes (prefix, owner) values ('', 'dev') on conflict do nothing";
