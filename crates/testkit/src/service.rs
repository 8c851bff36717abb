//! A service of ours as a separate process: started with settings, killed, started again.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::ExitStatus,
    time::Duration,
};

use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde::Deserialize;
use tempfile::TempDir;

use crate::{
    dirs,
    process::{Launch, Lifetime, Process},
    wait::eventually,
};

/// What a service writes to `READY_FILE` once it is ready.
#[derive(Debug, Clone, Deserialize)]
pub struct Ready {
    pub api: Option<String>,
    pub admin: Option<String>,
}

/// A service process tied to its owner.
#[derive(Debug)]
pub struct ChildService {
    name: String,
    env: BTreeMap<OsString, OsString>,
    process: Process,
    ready: Ready,
    dir: TempDir,
}

impl ChildService {
    /// Starts `target/<profile>/<name>` with exactly `env` (nothing inherited but PATH) and waits until
    /// it is ready.
    pub async fn start<K, V>(name: &str, env: impl IntoIterator<Item = (K, V)>) -> Result<Self>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let env = env
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        let dir = dirs::private(name)?;
        let mut process = launch_in(dir.path(), name, &env)?.spawn(Lifetime::Tied)?;
        let ready = wait_ready(&mut process, &ready_file(dir.path())).await?;
        Ok(Self {
            name: name.to_owned(),
            env,
            process,
            ready,
            dir,
        })
    }

    /// As [`Self::start`], for a service that is expected to refuse: returns its exit status and log.
    pub fn run_to_end<K, V>(
        name: &str,
        env: impl IntoIterator<Item = (K, V)>,
        timeout: Duration,
    ) -> Result<(ExitStatus, String)>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let env = env
            .into_iter()
            .map(|(key, value)| (key.into(), value.into()))
            .collect();
        let dir = dirs::private(name)?;
        let mut process = launch_in(dir.path(), name, &env)?.spawn(Lifetime::Tied)?;
        let status = process.wait(timeout)?;
        Ok((status, process.log()))
    }

    /// `http://host:port` of the public door.
    pub fn api_url(&self) -> Result<String> {
        let addr = self
            .ready
            .api
            .as_ref()
            .with_context(|| format!("{} has no API", self.name))?;
        Ok(format!("http://{addr}"))
    }

    pub fn admin_url(&self) -> Result<String> {
        let addr = self
            .ready
            .admin
            .as_ref()
            .with_context(|| format!("{} has no admin port", self.name))?;
        Ok(format!("http://{addr}"))
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Everything it has written so far, all its lives together.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Changes a setting for the next start.
    pub fn set_env(&mut self, name: &str, value: impl Into<OsString>) {
        self.env.insert(name.into(), value.into());
    }

    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill9()
    }

    /// Stops it in its tracks (`SIGSTOP`), as a machine that hangs does.
    pub fn pause(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGSTOP)
    }

    /// Lets a paused one go on.
    pub fn wake(&mut self) -> Result<()> {
        self.process.signal(Signal::SIGCONT)
    }

    /// Asks it to end and waits; its exit status.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.process.stop(Duration::from_secs(30))
    }

    pub fn has_ended(&mut self) -> bool {
        self.process.ended().is_some()
    }

    /// Starts it again with the same settings (ports may differ unless they were set), ready again after.
    pub async fn restart(&mut self) -> Result<()> {
        self.begin_restart()?;
        self.finish_restart().await
    }

    /// Starts it without waiting until it is ready.
    pub fn begin_restart(&mut self) -> Result<()> {
        if self.process.ended().is_none() {
            self.process.stop(Duration::from_secs(30))?;
        }
        self.process = launch_in(self.dir.path(), &self.name, &self.env)?.spawn(Lifetime::Tied)?;
        Ok(())
    }

    pub async fn finish_restart(&mut self) -> Result<()> {
        self.ready = wait_ready(&mut self.process, &ready_file(self.dir.path())).await?;
        Ok(())
    }
}

fn ready_file(dir: &Path) -> PathBuf {
    dir.join("ready.json")
}

/// How a service is started, whoever keeps it: with nothing of the caller's environment.
pub fn launch(name: &str, ready: &Path, log: &Path) -> Result<Launch> {
    if ready.exists() {
        std::fs::remove_file(ready)?;
    }
    let launch = Launch::new(name, dirs::binary(name)?, log)
        .clear_env()
        .cwd(dirs::workspace());
    Ok(launch.env("READY_FILE", ready))
}

fn launch_in(dir: &Path, name: &str, env: &BTreeMap<OsString, OsString>) -> Result<Launch> {
    let launch = launch(name, &ready_file(dir), &dir.join("log"))?;
    Ok(env
        .iter()
        .fold(launch, |launch, (key, value)| launch.env(key, value)))
}

pub async fn wait_ready(process: &mut Process, ready_file: &Path) -> Result<Ready> {
    let what = format!("{} is ready", process.name());
    let end = std::cell::RefCell::new(process);
    eventually(Duration::from_mins(2), &what, async || {
        if let Ok(text) = std::fs::read_to_string(ready_file) {
            return Ok(serde_json::from_str::<Ready>(&text).ok().map(Ok));
        }
        Ok(end.borrow_mut().must_be_running().err().map(Err))
    })
    .await?
}
