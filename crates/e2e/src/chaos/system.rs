//! The whole product with a proxy on every connection, over shared servers or over its own.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use strum::VariantArray;
use testkit::anvil::DEV_PRIVATE_KEYS;
use testkit::app::Options;
use testkit::rpc_proxy::{FaultRates, Reachability};
use testkit::wiring::{EXECUTOR, SERVICES};
use testkit::{
    Addresses, App, Broker, ChaosProxy, ChildService, PostgresServer, RpcProxy, Servers, contracts, dirs,
};

/// The executor's keys: each has its share of the intents, its own nonces, and its own lease.
pub const KEYS: &[&str] = DEV_PRIVATE_KEYS.split_at(1).1.split_at(3).0;

/// Which of a service's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, VariantArray)]
pub enum Link {
    Database,
    Broker,
}

impl Link {
    pub const ALL: &[Self] = Self::VARIANTS;
}

/// Servers that a scenario may kill.
#[derive(Debug)]
pub struct Infrastructure {
    pub postgres: PostgresServer,
    pub broker: Broker,
    chain: (std::path::PathBuf, Addresses),
    _dir: tempfile::TempDir,
}

impl Infrastructure {
    pub async fn start() -> Result<Self> {
        let dir = dirs::private("chaos")?;
        let state = dir.path().join("chain.json");
        let (postgres, broker, addresses) = tokio::try_join!(
            PostgresServer::start(),
            Broker::start(),
            contracts::snapshot(&state)
        )?;
        Ok(Self {
            postgres,
            broker,
            chain: (state, addresses),
            _dir: dir,
        })
    }

    fn servers(&self) -> Servers {
        Servers {
            pg_url: self.postgres.url(),
            amqp_url: self.broker.url(),
            amqp_management_url: self.broker.management_url(),
        }
    }
}

/// How the product is set up for a scenario.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub confirmations: u32,
    /// Seconds between blocks.
    pub block_time: f64,
    /// Adds a second RPC endpoint, which the executor uses while the first one fails.
    pub second_endpoint: bool,
}

/// Of an app whose services are started later, through the proxies.
fn options(infrastructure: Option<&Infrastructure>, setup: Setup) -> Options {
    let millis = (setup.block_time * 1000.0).round();
    let policy = |name: &str, value: String| (format!("FIATRAILS_POLICY_{name}"), value);
    Options {
        mining: testkit::anvil::Mining::Every(setup.block_time),
        extra: vec![
            policy("CHAIN_CONFIRMATIONS", setup.confirmations.to_string()),
            policy("CHAIN_BLOCK_TIME_MS", millis.to_string()),
            policy("WINDOWS_REDRIVE_SECONDS", "10".into()),
            // Each call to a silent node takes this long; with the shipped time-out a scenario with a network
            // partition would last an hour.
            policy("CHAIN_RPC_TIMEOUT_MS", "5000".into()),
        ],
        without: SERVICES.to_vec(),
        servers: infrastructure.map(Infrastructure::servers),
        chain_state: infrastructure.map(|infrastructure| infrastructure.chain.clone()),
        ..Options::default()
    }
}

/// Dropped in this order: services before what they are connected to.
#[derive(Debug)]
pub struct System {
    pub app: App,
    pub rpc: RpcProxy,
    pub second_endpoint: Option<RpcProxy>,
    links: BTreeMap<(&'static str, Link), ChaosProxy>,
    /// A second executor on the first one's keys.
    pub second_executor: Option<ChildService>,
    /// Services that ended though no fault ended them.
    pub unexpected_exits: Vec<String>,
}

impl System {
    /// `infrastructure`: the system's own servers, for a scenario that kills them.
    pub async fn start(infrastructure: Option<&Infrastructure>, setup: Setup, seed: u64) -> Result<Self> {
        let mut app = App::start_with(options(infrastructure, setup)).await?;
        app.quiet = true;
        let rpc = RpcProxy::start(&app.chain.url(), seed).await?;
        let second_endpoint = if setup.second_endpoint {
            Some(RpcProxy::start(&app.chain.url(), seed).await?)
        } else {
            None
        };
        let mut links = BTreeMap::new();
        for service in SERVICES {
            links.insert(
                (service, Link::Database),
                ChaosProxy::before(&app.wiring.database_url).await?,
            );
            let broker = format!("http://{}", host_of(&app.wiring.amqp_url)?);
            links.insert((service, Link::Broker), ChaosProxy::before(&broker).await?);
        }
        for service in SERVICES {
            links[&(service, Link::Broker)].count(further_attempts());
        }
        let mut system = Self {
            app,
            rpc,
            second_endpoint,
            links,
            second_executor: None,
            unexpected_exits: Vec::new(),
        };
        for service in SERVICES {
            *system.app.service_entry(service)? = Some(system.start_service(service).await?);
        }
        // A restarted gateway must listen where its clients expect it.
        let gateway = system.app.service(testkit::wiring::GATEWAY)?;
        let address = gateway.api_url()?.trim_start_matches("http://").to_owned();
        gateway.set_env("LISTEN_ADDR", address);
        Ok(system)
    }

    /// Starts a service that connects through the proxies.
    async fn start_service(&self, service: &'static str) -> Result<ChildService> {
        let mut wiring = self.app.wiring.clone();
        wiring.database_url = self.link(service, Link::Database).through(&wiring.database_url)?;
        wiring.amqp_url = self.link(service, Link::Broker).through(&wiring.amqp_url)?;
        let endpoints = std::iter::once(&self.rpc).chain(&self.second_endpoint);
        wiring.rpc_url = endpoints.map(RpcProxy::url).collect::<Vec<_>>().join(",");
        let mut env = wiring.env(service)?;
        if service == EXECUTOR {
            env.retain(|(name, _)| name != "EXECUTOR_PRIVATE_KEY");
            env.push(("EXECUTOR_PRIVATE_KEY".into(), KEYS.join(" ")));
        }
        ChildService::start(service, env).await
    }

    /// Writes the services' logs into a directory that is kept, and returns it.
    pub fn keep_logs(&self, name: &str) -> Result<std::path::PathBuf> {
        let dir = dirs::workspace().join(".stack/chaos").join(name);
        std::fs::create_dir_all(&dir)?;
        for (service, log) in self.app.logs() {
            std::fs::write(dir.join(format!("{service}.log")), log)?;
        }
        Ok(dir)
    }

    pub async fn start_second_executor(&mut self) -> Result<()> {
        self.second_executor = Some(self.start_service(EXECUTOR).await?);
        Ok(())
    }

    /// Number of keys that signed nothing: no share of the work was theirs.
    pub fn idle_keys(&self) -> Result<usize> {
        let busy = self
            .app
            .database
            .sql("select count(distinct signer) from attempts")?;
        Ok(KEYS.len().saturating_sub(busy.parse()?))
    }

    pub fn link(&self, service: &'static str, link: Link) -> &ChaosProxy {
        &self.links[&(service, link)]
    }

    /// Cuts the service's open connections; new ones pass.
    pub fn reset_connections(&self, service: &'static str) {
        for &link in Link::ALL {
            self.link(service, link).cut();
            self.link(service, link).resume();
        }
    }

    /// Ends every fault of node and connections.
    pub fn clear_faults(&self) {
        self.rpc.set(FaultRates::default());
        self.rpc.reach(Reachability::Open);
        for link in self.links.values() {
            link.resume();
        }
    }

    /// Number of messages that the services published for a further attempt, counted on the way to the broker.
    pub fn retried(&self) -> u64 {
        SERVICES
            .iter()
            .map(|service| self.link(service, Link::Broker).counted())
            .sum()
    }

    pub async fn restart(&mut self, service: &str) -> Result<()> {
        self.app
            .service(service)?
            .restart()
            .await
            .with_context(|| format!("{service} does not start again"))
    }

    /// Starts services that ended by themselves again, and records them: none should end.
    pub async fn restart_ended(&mut self) -> Result<()> {
        for service in SERVICES {
            if self.app.service(service)?.has_ended() {
                let log = self.app.service(service)?.log();
                self.unexpected_exits.push(format!(
                    "{service} ended by itself:\n{}",
                    testkit::process::tail(&log, 5)
                ));
                self.restart(service).await?;
            }
        }
        Ok(())
    }
}

/// How the envelope of a further attempt differs from that of the first.
fn further_attempts() -> Vec<Vec<u8>> {
    (2..=6)
        .map(|attempt| format!("\"attempt\":{attempt}").into_bytes())
        .collect()
}

fn host_of(amqp_url: &str) -> Result<&str> {
    let (_, host) = amqp_url
        .rsplit_once('@')
        .context("the broker's URL has no user")?;
    Ok(host.split('/').next().unwrap_or(host))
}
