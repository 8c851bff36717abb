//! Runs the binary as an operator would, with a chosen environment and nothing else.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use serde_json::Value;
use testkit::{Database, DevKeys, Vhost};

#[derive(Clone, Default)]
pub struct Cli {
    env: BTreeMap<String, String>,
}

#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Cli {
    pub fn new() -> Self {
        Self::default().with("USER", "tester")
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.insert(name.to_owned(), value.into());
        self
    }

    /// With the operator's own rights, not the owner's.
    pub fn on(self, database: &Database) -> Result<Self> {
        let url = database.login("ops")?;
        Ok(self.with("DATABASE_URL", url))
    }

    pub fn broker(self, vhost: &Vhost) -> Self {
        self.with("AMQP_URL", vhost.url())
    }

    pub fn keys(self, keys: &DevKeys) -> Self {
        let dir = keys.dir("ops");
        self.with("FIATRAILS_KEYS_DIR", dir.display().to_string())
    }

    pub fn run(&self, args: &[&str]) -> Result<Ran> {
        let output = Command::new(env!("CARGO_BIN_EXE_fiatrails"))
            .args(args)
            .env_clear()
            .envs(&self.env)
            .current_dir(testkit::dirs::workspace())
            .stdin(Stdio::null())
            .output()?;
        Ok(Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }

    /// Expects exit code 0; what was printed.
    pub fn ok(&self, args: &[&str]) -> Result<String> {
        let ran = self.run(args)?;
        ensure!(ran.code == 0, "fiatrails {args:?}: {ran:?}");
        Ok(ran.stdout)
    }

    /// Expects exit code 0 and one JSON document.
    pub fn json(&self, args: &[&str]) -> Result<Value> {
        let mut all = args.to_vec();
        all.push("--json");
        Ok(serde_json::from_str(&self.ok(&all)?)?)
    }
}
