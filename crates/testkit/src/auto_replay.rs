//! Runs `fiatrails dlq auto` beside the services, as an operator does.

use anyhow::Result;
use tempfile::TempDir;

use crate::{
    Wiring, dirs,
    ports::Port,
    process::{Launch, Lifetime, Process},
};

/// Ends with its owner.
#[derive(Debug)]
pub struct AutoReplay {
    _process: Process,
    port: Port,
    _dir: TempDir,
}

impl AutoReplay {
    pub fn start(wiring: &Wiring, more: &[&str]) -> Result<Self> {
        let (dir, port) = (dirs::private("auto-replay")?, Port::reserve()?);
        let log = dir.path().join("auto-replay.log");
        let addr = format!("127.0.0.1:{}", port.number());
        let mut launch = Launch::new("auto-replay", dirs::binary("fiatrails")?, log)
            .clear_env()
            .cwd(dirs::workspace())
            .args(["dlq", "auto", "--class", "storage", "--every", "1s"])
            .args(["--admin-addr", &addr])
            .args(more);
        for (name, value) in wiring.operator_env() {
            launch = launch.env(name, value);
        }
        Ok(Self {
            _process: launch.spawn(Lifetime::Tied)?,
            port,
            _dir: dir,
        })
    }

    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port.number())
    }
}
