//! A private anvil node: chain 31430, block time or automine as asked, state loaded or kept.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    addresses::Addresses,
    dirs, http,
    ports::Port,
    process::{Launch, Lifetime, Process},
    servers::Servers,
    wait::eventually,
};

pub const CHAIN_ID: u64 = 31_430;

/// anvil's well-known development accounts: their keys are public and worth nothing elsewhere.
pub const DEV_PRIVATE_KEYS: [&str; 6] = [
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
    "0x7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6",
    "0x47e179ec197488593b187f80a00eb0da91f1b9d0b13f8733639f19c30a34926a",
    "0x8b3a350cf5c34c9194ca85829a2df0ec3153be0318b5e2d3348e872092edffba",
];
/// Admin and compliance officer of a development deployment.
pub const ADMIN_PRIVATE_KEY: &str = DEV_PRIVATE_KEYS[0];
/// First executor of a development deployment.
pub const EXECUTOR_PRIVATE_KEY: &str = DEV_PRIVATE_KEYS[1];

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Mining {
    /// A block for every transaction. Concurrent senders stall it: never for load.
    Automine,
    /// A block every so many seconds.
    Every(f64),
    /// Only when told ([`Anvil::mine`]).
    Manual,
}

#[derive(Debug, Clone)]
pub struct Options {
    pub mining: Mining,
    pub gas_limit: u64,
    /// A snapshot to begin from ([`crate::Servers::chain_state`]).
    pub load_state: Option<PathBuf>,
    /// Read at the start if it is there, written every few seconds and at the end.
    pub keep_state: Option<PathBuf>,
    pub extra: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            mining: Mining::Automine,
            gas_limit: 30_000_000,
            load_state: None,
            keep_state: None,
            extra: Vec::new(),
        }
    }
}

impl Options {
    pub fn launch(&self, port: u16, log: &Path) -> Result<Launch> {
        let mut launch = Launch::new("anvil", foundry_binary("anvil")?, log)
            .args(["--host", "127.0.0.1", "--port", &port.to_string()])
            .args([
                "--chain-id",
                &CHAIN_ID.to_string(),
                "--gas-limit",
                &self.gas_limit.to_string(),
            ])
            .args([
                "--slots-in-an-epoch",
                "1",
                "--order",
                "fifo",
                "--disable-console-log",
                "--quiet",
            ])
            .args(&self.extra);
        match self.mining {
            Mining::Automine => {}
            Mining::Every(seconds) => launch = launch.args(["--block-time", &seconds.to_string()]),
            Mining::Manual => launch = launch.arg("--no-mining"),
        }
        if let Some(file) = &self.load_state {
            launch = launch.arg("--load-state").arg(file);
        }
        if let Some(file) = &self.keep_state {
            launch = launch.arg("--state").arg(file).args(["--state-interval", "2"]);
        }
        Ok(launch)
    }
}

/// A node tied to its owner.
#[derive(Debug)]
pub struct Anvil {
    options: Options,
    process: Process,
    port: Port,
    _dir: TempDir,
}

impl Anvil {
    /// An empty automining chain.
    pub async fn start() -> Result<Self> {
        Self::start_with(Options::default()).await
    }

    /// A chain with the contracts deployed, from the snapshot of the run.
    pub async fn deployed(mining: Mining) -> Result<(Self, Addresses)> {
        let (state, addresses) = Servers::chain_state()?;
        let node = Self::start_with(Options {
            mining,
            load_state: Some(state),
            ..Options::default()
        })
        .await?;
        Ok((node, addresses))
    }

    pub async fn start_with(options: Options) -> Result<Self> {
        let dir = dirs::private("anvil")?;
        let port = Port::reserve()?;
        let process = start_and_wait(
            &options,
            port.number(),
            &dir.path().join("anvil.log"),
            Lifetime::Tied,
        )
        .await?;
        Ok(Self {
            options,
            process,
            port,
            _dir: dir,
        })
    }

    pub fn mining(&self) -> Mining {
        self.options.mining
    }

    pub fn url(&self) -> String {
        url(self.port.number())
    }

    pub async fn rpc(&self, method: &str, params: Value) -> Result<Value> {
        http::rpc(&self.url(), method, params).await
    }

    pub async fn mine(&self, blocks: u64) -> Result<()> {
        self.rpc("anvil_mine", json!([format!("0x{blocks:x}")]))
            .await
            .map(drop)
    }

    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill9()
    }

    /// Starts it again on the same port; a chain without `keep_state` begins anew.
    pub async fn restart(&mut self) -> Result<()> {
        if self.process.ended().is_none() {
            self.process.stop(Duration::from_secs(10))?;
        }
        let log = self.process.log_path().to_path_buf();
        self.process = start_and_wait(&self.options, self.port.number(), &log, Lifetime::Tied).await?;
        Ok(())
    }

    /// Ends it and waits until what it writes at its end is written.
    pub fn stop(&mut self) -> Result<()> {
        self.process.stop(Duration::from_secs(20)).map(drop)
    }
}

pub fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

pub async fn start_and_wait(options: &Options, port: u16, log: &Path, lifetime: Lifetime) -> Result<Process> {
    let mut process = options.launch(port, log)?.spawn(lifetime)?;
    let url = url(port);
    let waited = eventually(Duration::from_secs(20), "anvil answers", async || {
        http::rpc(&url, "eth_chainId", json!([])).await.map(Some)
    })
    .await;
    process.must_be_running()?;
    waited?;
    Ok(process)
}

/// The real binary: npm's launcher script would cost a tenth of a second and hide the pid.
pub fn foundry_binary(name: &str) -> Result<PathBuf> {
    let platform = match std::env::consts::ARCH {
        "aarch64" => "linux-arm64",
        _ => "linux-amd64",
    };
    let path = dirs::workspace()
        .join("contracts/node_modules/@foundry-rs")
        .join(format!("{name}-{platform}/bin/{name}"));
    path.is_file()
        .then_some(path)
        .with_context(|| format!("{name} is not installed; run scripts/install-tools"))
}
