//! The whole product with a proxy on every wire, over shared servers or over its own.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use testkit::anvil::DEV_PRIVATE_KEYS;
use testkit::app::Options;
use testkit::rpc_proxy::{Reach, Troubles};
use testkit::wiring::{EXECUTOR, SERVICES};
use testkit::{
    Addresses, App, Broker, ChaosProxy, ChildService, PostgresServer, RpcProxy, Servers, contracts, dirs,
};

/// The executor's keys: each has its share of the intents, its own nonces, and its own lease.
pub const KEYS: &[&str] = DEV_PRIVATE_KEYS.split_at(1).1.split_at(3).0;

/// Which of a service's connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wire {
    Database,
    Broker,
}

impl Wire {
    pub const ALL: [Self; 2] = [Self::Database, Self::Broker];
}

/// Servers that a story may kill.
#[derive(Debug)]
pub struct Ground {
    pub postgres: PostgresServer,
    pub broker: Broker,
    chain: (std::path::PathBuf, Addresses),
    _dir: tempfile::TempDir,
}

impl Ground {
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

/// How the product is set up for a story.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub confirmations: u32,
    /// Seconds between blocks.
    pub block_time: f64,
    /// A second RPC endpoint, asked when the first is of no use.
    pub spare: bool,
}

/// Dropped in this order: services before what they are connected to.
#[derive(Debug)]
pub struct Stage {
    pub app: App,
    pub rpc: RpcProxy,
    pub spare: Option<RpcProxy>,
    wires: BTreeMap<(&'static str, Wire), ChaosProxy>,
    /// A second executor on the first one's keys.
    pub second: Option<ChildService>,
    /// Services that ended though nobody ended them.
    pub fallen: Vec<String>,
}

impl Stage {
    /// `ground`: servers of its own, for a story that kills them.
    pub async fn set(ground: Option<&Ground>, setup: Setup, seed: u64) -> Result<Self> {
        let millis = (setup.block_time * 1000.0).round();
        let policy = |name: &str, value: String| (format!("FIATRAILS_POLICY_{name}"), value);
        let options = Options {
            mining: testkit::anvil::Mining::Every(setup.block_time),
            extra: vec![
                policy("CHAIN_CONFIRMATIONS", setup.confirmations.to_string()),
                policy("CHAIN_BLOCK_TIME_MS", millis.to_string()),
                policy("WINDOWS_REDRIVE_SECONDS", "10".into()),
                // A silent node costs this much each time; the shipped figure would make a story of parted networks an hour long.
                policy("CHAIN_RPC_TIMEOUT_MS", "5000".into()),
            ],
            without: SERVICES.to_vec(),
            servers: ground.map(Ground::servers),
            chain_state: ground.map(|ground| ground.chain.clone()),
            ..Options::default()
        };
        let mut app = App::start_with(options).await?;
        app.quiet = true;
        let rpc = RpcProxy::start(&app.chain.url(), seed).await?;
        let spare = if setup.spare {
            Some(RpcProxy::start(&app.chain.url(), seed).await?)
        } else {
            None
        };
        let mut wires = BTreeMap::new();
        for service in SERVICES {
            wires.insert(
                (service, Wire::Database),
                ChaosProxy::before(&app.wiring.database_url).await?,
            );
            let broker = format!("http://{}", host_of(&app.wiring.amqp_url)?);
            wires.insert((service, Wire::Broker), ChaosProxy::before(&broker).await?);
        }
        for service in SERVICES {
            wires[&(service, Wire::Broker)].count(further_attempts());
        }
        let mut stage = Self {
            app,
            rpc,
            spare,
            wires,
            second: None,
            fallen: Vec::new(),
        };
        for service in SERVICES {
            *stage.app.slot(service)? = Some(stage.start(service).await?);
        }
        // The gateway comes back where its clients look for it.
        let gateway = stage.app.service(testkit::wiring::GATEWAY)?;
        let address = gateway.api_url()?.trim_start_matches("http://").to_owned();
        gateway.set_env("LISTEN_ADDR", address);
        Ok(stage)
    }

    /// A service connected by way of the proxies.
    async fn start(&self, service: &'static str) -> Result<ChildService> {
        let mut wiring = self.app.wiring.clone();
        wiring.database_url = self.wire(service, Wire::Database).through(&wiring.database_url)?;
        wiring.amqp_url = self.wire(service, Wire::Broker).through(&wiring.amqp_url)?;
        let endpoints = std::iter::once(&self.rpc).chain(&self.spare);
        wiring.rpc_url = endpoints.map(RpcProxy::url).collect::<Vec<_>>().join(",");
        let mut env = wiring.env(service)?;
        if service == EXECUTOR {
            env.retain(|(name, _)| name != "EXECUTOR_PRIVATE_KEY");
            env.push(("EXECUTOR_PRIVATE_KEY".into(), KEYS.join(" ")));
        }
        ChildService::start(service, env).await
    }

    /// Writes the services' logs into a directory that stays; where.
    pub fn keep_logs(&self, name: &str) -> Result<std::path::PathBuf> {
        let dir = dirs::workspace().join(".stack/chaos").join(name);
        std::fs::create_dir_all(&dir)?;
        for (service, log) in self.app.logs() {
            std::fs::write(dir.join(format!("{service}.log")), log)?;
        }
        Ok(dir)
    }

    pub async fn start_second_executor(&mut self) -> Result<()> {
        self.second = Some(self.start(EXECUTOR).await?);
        Ok(())
    }

    /// Keys that signed nothing, which is to say: had no share of the work.
    pub fn idle_keys(&self) -> Result<usize> {
        let busy = self
            .app
            .database
            .sql("select count(distinct signer) from attempts")?;
        Ok(KEYS.len().saturating_sub(busy.parse()?))
    }

    pub fn wire(&self, service: &'static str, wire: Wire) -> &ChaosProxy {
        &self.wires[&(service, wire)]
    }

    /// Open connections of the service end, new ones pass.
    pub fn mend(&self, service: &'static str) {
        for wire in Wire::ALL {
            self.wire(service, wire).cut();
            self.wire(service, wire).resume();
        }
    }

    /// No more trouble from here on.
    pub fn calm(&self) {
        self.rpc.set(Troubles::default());
        self.rpc.reach(Reach::Open);
        for wire in self.wires.values() {
            wire.resume();
        }
    }

    /// Messages that a service sent round for a further attempt, as they passed on the wire.
    pub fn retried(&self) -> u64 {
        SERVICES
            .iter()
            .map(|service| self.wire(service, Wire::Broker).counted())
            .sum()
    }

    pub async fn restart(&mut self, service: &str) -> Result<()> {
        self.app
            .service(service)?
            .restart()
            .await
            .with_context(|| format!("{service} does not come back"))
    }

    /// Starts again what has ended by itself, and remembers it: nothing may.
    pub async fn pick_up(&mut self) -> Result<()> {
        for service in SERVICES {
            if self.app.service(service)?.has_ended() {
                let log = self.app.service(service)?.log();
                self.fallen.push(format!(
                    "{service} ended by itself:\n{}",
                    testkit::process::tail(&log, 5)
                ));
                self.restart(service).await?;
            }
        }
        Ok(())
    }
}

/// The envelope's hint of an attempt that is not the first.
fn further_attempts() -> Vec<Vec<u8>> {
    (2..=6)
        .map(|attempt| format!("\"attempt\":{attempt}").into_bytes())
        .collect()
}

fn host_of(amqp_url: &str) -> Result<&str> {
    let (_, place) = amqp_url
        .rsplit_once('@')
        .context("the broker's URL has no user")?;
    Ok(place.split('/').next().unwrap_or(place))
}
