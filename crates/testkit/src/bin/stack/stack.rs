//! The whole development stack: what runs is left alone, what does not is started.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use testkit::{
    Addresses, DevKeys, Wiring, addresses, anvil,
    app::REGISTER_DEV_INTEGRATOR,
    contracts,
    database::with_database,
    keys::{MPESA_KID, REQUEST_KID, random_hex},
    ports::free_port,
    postgres::psql,
    process::{Lifetime, Process},
    service,
    wiring::{EXECUTOR, GATEWAY, SERVICES},
};

use crate::{
    infra::{self, Infra, POSTGRES, RABBITMQ},
    pids::Pids,
    state,
};

const ANVIL: &str = "anvil";
const DATABASE: &str = "fiatrails";

/// Chosen at the first start and kept until the stack is taken down.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct State {
    infra: Infra,
    chain: ChainOptions,
    anvil_port: u16,
    gateway_port: u16,
    gateway_admin_port: u16,
    executor_admin_port: u16,
    callback_admin_port: u16,
    database_password: String,
    amqp_password: String,
}

impl State {
    fn choose(dir: &Path, chain: ChainOptions) -> Result<Self> {
        Ok(Self {
            infra: Infra::choose(dir, true)?,
            chain,
            anvil_port: free_port()?,
            gateway_port: free_port()?,
            gateway_admin_port: free_port()?,
            executor_admin_port: free_port()?,
            callback_admin_port: free_port()?,
            database_password: random_hex::<16>()?,
            amqp_password: random_hex::<16>()?,
        })
    }

    fn admin_port(&self, service: &str) -> u16 {
        match service {
            GATEWAY => self.gateway_admin_port,
            EXECUTOR => self.executor_admin_port,
            _ => self.callback_admin_port,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChainOptions {
    pub block_time: f64,
    pub gas_limit: u64,
}

/// A stack that is up. Tied processes end when this is dropped.
pub struct Stack {
    dir: PathBuf,
    state: State,
    pids: Pids,
    lifetime: Lifetime,
    held: Vec<Process>,
    pub wiring: Wiring,
}

impl Stack {
    /// Starts whatever is not running and waits until it is ready.
    pub async fn up(dir: &Path, chain: ChainOptions, lifetime: Lifetime) -> Result<Self> {
        let dir = state::prepare_dir(dir)?;
        let _lock = lock(&dir)?;
        let mut state = state::load_or(&dir, || {
            forget_logs(&dir)?;
            State::choose(&dir, chain)
        })?;
        let pids = Pids::new(dir.join("run"))?;
        if state.chain != chain && pids.running(ANVIL).is_none() {
            state.chain = chain;
            state::save(&dir, &state)?;
        } else if state.chain != chain {
            eprintln!(
                "the chain runs already and keeps its block time of {} s",
                state.chain.block_time
            );
        }

        let (servers, (node, addresses)) = tokio::try_join!(
            infra::ensure(&state.infra, &dir, &pids, lifetime),
            ensure_chain(&dir, &state, &pids, lifetime)
        )?;
        let new_servers = !servers.is_empty();
        let mut held = servers;
        held.extend(node);
        let wiring = wiring(&dir, &state, addresses)?;
        let mut stack = Self {
            dir,
            state,
            pids,
            lifetime,
            held,
            wiring,
        };
        stack.report(&[POSTGRES, RABBITMQ, ANVIL]);
        if new_servers || !SERVICES.iter().all(|name| stack.pids.running(name).is_some()) {
            stack.prepare().await?;
        }
        stack.start_services().await?;
        stack.report(&SERVICES);
        state::write_env(&stack.env_file(), &stack.env())?;
        Ok(stack)
    }

    /// Schema, logins, queues, broker users. Repeating it changes nothing.
    async fn prepare(&self) -> Result<()> {
        let maintenance = self.state.infra.postgres(&self.dir).url("postgres");
        let known = psql(
            &maintenance,
            &format!("select 1 from pg_database where datname = '{DATABASE}'"),
        )?;
        if known.trim().is_empty() {
            psql(&maintenance, &format!("create database {DATABASE}"))?;
        }
        tokio::try_join!(
            self.wiring.fiatrails(&["migrate", "--login-roles"]),
            self.wiring.fiatrails(&["topology", "declare", "--users"])
        )?;
        psql(&self.wiring.database_url, REGISTER_DEV_INTEGRATOR)?;
        Ok(())
    }

    async fn start_services(&mut self) -> Result<()> {
        let missing: Vec<&str> = SERVICES
            .into_iter()
            .filter(|name| self.pids.running(name).is_none())
            .collect();
        let mut starting = Vec::new();
        for name in missing {
            let ready = self.dir.join("run").join(format!("{name}.ready.json"));
            let log = self.dir.join("log").join(format!("{name}.log"));
            let mut launch = service::launch(name, &ready, &log)?
                .env("ADMIN_ADDR", format!("127.0.0.1:{}", self.state.admin_port(name)));
            if name == GATEWAY {
                launch = launch.env("LISTEN_ADDR", format!("127.0.0.1:{}", self.state.gateway_port));
            }
            for (key, value) in self.wiring.env(name)? {
                launch = launch.env(key, value);
            }
            let process = launch.spawn(self.lifetime)?;
            // Before the wait: an interrupted start must be found by `down`.
            self.pids.record(name, process.pid())?;
            starting.push((process, ready));
        }
        for (mut process, ready) in starting {
            service::wait_ready(&mut process, &ready).await?;
            self.held.push(process);
        }
        Ok(())
    }

    fn report(&self, names: &[&str]) {
        if self.lifetime == Lifetime::Tied {
            return;
        }
        for name in names {
            let started = self.held.iter().any(|process| process.name() == *name);
            let pid = self
                .pids
                .running(name)
                .map_or_else(|| "?".to_owned(), |pid| pid.to_string());
            println!(
                "{name:<14} {} (pid {pid})",
                if started { "started" } else { "runs already" }
            );
        }
    }

    pub fn gateway_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.state.gateway_port)
    }

    pub fn env_file(&self) -> PathBuf {
        self.dir.join("env")
    }

    /// Everything a person, the benchmark or a test needs to talk to this stack.
    fn env(&self) -> Vec<(&'static str, String)> {
        let local = |port: u16| format!("http://127.0.0.1:{port}");
        let Wiring { addresses, keys, .. } = &self.wiring;
        vec![
            ("FIATRAILS_GATEWAY_URL", self.gateway_url()),
            ("FIATRAILS_REQUEST_KID", REQUEST_KID.into()),
            ("FIATRAILS_REQUEST_SECRET_HEX", keys.request_secret_hex.clone()),
            ("FIATRAILS_MPESA_KID", MPESA_KID.into()),
            ("FIATRAILS_MPESA_SECRET_HEX", keys.mpesa_secret_hex.clone()),
            ("GATEWAY_ADMIN_URL", local(self.state.gateway_admin_port)),
            ("EXECUTOR_ADMIN_URL", local(self.state.executor_admin_port)),
            ("CALLBACK_ADMIN_URL", local(self.state.callback_admin_port)),
            ("DATABASE_URL", self.wiring.database_url.clone()),
            ("AMQP_URL", self.wiring.amqp_url.clone()),
            ("AMQP_MANAGEMENT_URL", self.wiring.amqp_management_url.clone()),
            ("RPC_URL", self.wiring.rpc_url.clone()),
            ("CHAIN_ID", anvil::CHAIN_ID.to_string()),
            ("ESCROW_ADDRESS", addresses.escrow.clone()),
            ("COUNTRY_TOKEN_ADDRESS", addresses.country_token.clone()),
            ("STABLECOIN_ADDRESS", addresses.stablecoin.clone()),
            ("USER_REGISTRY_ADDRESS", addresses.user_registry.clone()),
            ("COMPLIANCE_MANAGER_ADDRESS", addresses.compliance_manager.clone()),
            ("TREASURY_ADDRESS", addresses.treasury.clone()),
            ("DEV_ADMIN_PRIVATE_KEY", anvil::ADMIN_PRIVATE_KEY.into()),
            // For the `fiatrails` command line.
            ("RPC_URLS", self.wiring.rpc_url.clone()),
            ("FIATRAILS_OPERATOR", "developer".into()),
            ("FIATRAILS_KEYS_DIR", keys.dir("ops").display().to_string()),
            ("FIATRAILS_KEYS_ROOT", self.dir.join("keys").display().to_string()),
            (
                "FIATRAILS_POLICY_FILE",
                testkit::dirs::workspace()
                    .join("deploy/policy.json")
                    .display()
                    .to_string(),
            ),
        ]
    }
}

impl Drop for Stack {
    /// Tied processes end in the reverse order of their start: nothing loses what it is connected to.
    fn drop(&mut self) {
        while self.held.pop().is_some() {}
    }
}

fn wiring(dir: &Path, state: &State, addresses: Addresses) -> Result<Wiring> {
    let broker = state.infra.rabbitmq(dir);
    let block_time = (
        "FIATRAILS_POLICY_CHAIN_BLOCK_TIME_MS".to_owned(),
        format!("{:.0}", state.chain.block_time * 1e3),
    );
    // Settings a developer gives to `make up` reach the services.
    let passed = std::env::vars().filter(|(name, _)| {
        (name.starts_with("FIATRAILS_POLICY_") && name != "FIATRAILS_POLICY_FILE") || name == "RUST_LOG"
    });
    Ok(Wiring {
        database_url: with_database(&state.infra.postgres(dir).url("postgres"), DATABASE),
        login_prefix: String::new(),
        database_password: state.database_password.clone(),
        amqp_url: broker.amqp_url(),
        amqp_management_url: broker.management_url(),
        amqp_password: state.amqp_password.clone(),
        rpc_url: anvil::url(state.anvil_port),
        addresses,
        keys: DevKeys::generate(&dir.join("keys"))?,
        extra: std::iter::once(block_time).chain(passed).collect(),
    })
}

/// The node, with the contracts on it. Its state is written every few seconds, so a killed node comes back
/// a few blocks short, as after a small reorganisation.
async fn ensure_chain(
    dir: &Path,
    state: &State,
    pids: &Pids,
    lifetime: Lifetime,
) -> Result<(Option<Process>, Addresses)> {
    let chain_dir = dir.join("chain");
    let snapshot = chain_dir.join("state.json");
    let addresses = addresses::beside(&snapshot);
    if pids.running(ANVIL).is_some() {
        return Ok((None, Addresses::read(&addresses)?));
    }
    if !snapshot.is_file() || !addresses.is_file() {
        fs::create_dir_all(&chain_dir)?;
        contracts::snapshot(&snapshot).await?;
    }
    let options = anvil::Options {
        mining: anvil::Mining::Every(state.chain.block_time),
        gas_limit: state.chain.gas_limit,
        keep_state: Some(snapshot),
        ..anvil::Options::default()
    };
    let node = anvil::start_and_wait(&options, state.anvil_port, &dir.join("log/anvil.log"), lifetime)
        .await
        .context("the chain cannot be continued; `make down` forgets it")?;
    pids.record(ANVIL, node.pid())?;
    Ok((Some(node), Addresses::read(&addresses)?))
}

/// Stops our own processes and forgets their data; logs stay until the next start.
pub fn down(dir: &Path) -> Result<()> {
    if !dir.is_dir() {
        return Ok(());
    }
    let dir = &dir.canonicalize()?;
    let _lock = lock(dir)?;
    let pids = Pids::new(dir.join("run"))?;
    for name in SERVICES {
        report_stop(name, pids.stop(name, Signal::SIGTERM, Duration::from_secs(30))?);
    }
    report_stop(ANVIL, pids.stop(ANVIL, Signal::SIGTERM, Duration::from_secs(20))?);
    Infra::stop(&pids)?;
    if let Some(state) = state::load::<State>(dir)? {
        state.infra.remove(dir)?;
    }
    for part in ["run", "keys", "chain"] {
        if dir.join(part).exists() {
            fs::remove_dir_all(dir.join(part))?;
        }
    }
    for part in ["env", "state.json"] {
        if dir.join(part).exists() {
            fs::remove_file(dir.join(part))?;
        }
    }
    Ok(())
}

fn forget_logs(dir: &Path) -> Result<()> {
    let logs = dir.join("log");
    if logs.exists() {
        fs::remove_dir_all(logs)?;
    }
    Ok(())
}

fn report_stop(name: &str, ran: bool) {
    if ran {
        println!("{name:<14} stopped");
    }
}

/// One driver at a time in a directory.
fn lock(dir: &Path) -> Result<File> {
    let file = File::create(dir.join("lock"))?;
    if file.try_lock().is_err() {
        bail!(
            "another command is at work in {}; try again when it is done",
            dir.display()
        );
    }
    Ok(file)
}
