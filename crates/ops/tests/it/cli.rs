//! Runs the binary as an operator would, with a chosen environment and nothing else.

use std::collections::BTreeMap;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

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

/// A run that goes on; ends with its value.
pub struct Running(Child);

impl Running {
    /// Asks it to end, and waits.
    pub fn stop(mut self) -> Result<ExitStatus> {
        testkit::process::run(Command::new("kill").args(["-TERM", &self.0.id().to_string()]))?;
        Ok(self.0.wait()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A run with what it cost.
#[derive(Debug)]
pub struct Measured {
    pub ran: Ran,
    pub took: Duration,
    /// The most memory it held at once.
    pub peak_kib: u64,
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

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fiatrails"));
        command
            .args(args)
            .env_clear()
            .envs(&self.env)
            .current_dir(testkit::dirs::workspace())
            .stdin(Stdio::null());
        command
    }

    /// Starts it and looks elsewhere.
    pub fn spawn(&self, args: &[&str]) -> Result<Running> {
        Ok(Running(self.command(args).stdout(Stdio::null()).spawn()?))
    }

    pub fn run(&self, args: &[&str]) -> Result<Ran> {
        let output = self.command(args).output()?;
        Ok(Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        })
    }

    /// Runs it and watches its memory.
    pub fn measure(&self, args: &[&str]) -> Result<Measured> {
        let begun = Instant::now();
        let child = self
            .command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let status = format!("/proc/{}/status", child.id());
        let ended = Arc::new(AtomicBool::new(false));
        let watching = ended.clone();
        let watch = std::thread::spawn(move || {
            let mut peak = 0;
            while !watching.load(Ordering::Relaxed) {
                peak = high_water(&status).unwrap_or(0).max(peak);
                std::thread::sleep(Duration::from_millis(5));
            }
            peak
        });
        let output = child.wait_with_output()?;
        ended.store(true, Ordering::Relaxed);
        let took = begun.elapsed();
        let peak_kib = watch
            .join()
            .map_err(|_| anyhow::anyhow!("the watcher panicked"))?;
        let ran = Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout)?,
            stderr: String::from_utf8(output.stderr)?,
        };
        Ok(Measured { ran, took, peak_kib })
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

/// The kernel's own record of the peak, KiB.
fn high_water(status: &str) -> Option<u64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}
