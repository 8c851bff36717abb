//! Child processes that end with their owner, or that are deliberately detached.
//!
//! `Life::Tied` children are ended on drop and, if the owner is killed, by the kernel: `setpriv
//! --pdeathsig` asks for a signal on the death of the *thread* that spawned them, so all spawning
//! happens on one thread that lives as long as the process. `Life::Detached` children get their own
//! session and are tracked by pid file (see the `stack` driver).

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{OnceLock, mpsc},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// What to run and how it should end.
#[derive(Debug, Clone)]
pub struct Launch {
    pub name: String,
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    clear_env: bool,
    cwd: Option<PathBuf>,
    log: PathBuf,
    user: Option<String>,
    /// Sent first when the process should end; a kill follows if it does not.
    stop: Signal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lifetime {
    Tied,
    Detached,
}

impl Launch {
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>, log: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            clear_env: false,
            cwd: None,
            log: log.into(),
            user: None,
            stop: Signal::SIGTERM,
        }
    }

    #[must_use]
    pub fn arg(mut self, value: impl Into<OsString>) -> Self {
        self.args.push(value.into());
        self
    }

    #[must_use]
    pub fn args<I: IntoIterator<Item = S>, S: Into<OsString>>(mut self, values: I) -> Self {
        self.args.extend(values.into_iter().map(Into::into));
        self
    }

    #[must_use]
    pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Starts from `PATH`, `LANG` and `RUST_BACKTRACE` only: settings of the caller's shell must not
    /// reach a service under test.
    #[must_use]
    pub fn clear_env(mut self) -> Self {
        self.clear_env = true;
        self
    }

    #[must_use]
    pub fn cwd(mut self, dir: impl Into<PathBuf>) -> Self {
        self.cwd = Some(dir.into());
        self
    }

    /// Runs as this user; only root may ask for it.
    #[must_use]
    pub fn user(mut self, name: Option<&str>) -> Self {
        self.user = name.map(str::to_owned);
        self
    }

    #[must_use]
    pub fn stop_signal(mut self, signal: Signal) -> Self {
        self.stop = signal;
        self
    }

    fn command(&self, lifetime: Lifetime) -> Result<Command> {
        let log = open_log(&self.log)?;
        let mut command = match lifetime {
            Lifetime::Tied => {
                let mut command = Command::new("setpriv");
                command.arg(format!("--pdeathsig={}", self.stop.as_str()));
                command
            }
            Lifetime::Detached => {
                let mut command = Command::new("setsid");
                if self.user.is_some() {
                    command.arg("setpriv");
                }
                command
            }
        };
        if let Some(user) = &self.user {
            command.args([
                &format!("--reuid={user}"),
                &format!("--regid={user}"),
                "--clear-groups",
            ]);
        }
        command.arg(&self.program).args(&self.args);
        if self.clear_env {
            command.env_clear();
            for name in ["PATH", "LANG", "RUST_BACKTRACE"] {
                if let Some(value) = std::env::var_os(name) {
                    command.env(name, value);
                }
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        if let Some(dir) = &self.cwd {
            command.current_dir(dir);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command)
    }

    /// Starts it; the [`Process`] ends it on drop unless it is detached.
    pub fn spawn(&self, lifetime: Lifetime) -> Result<Process> {
        let command = self.command(lifetime)?;
        let child = spawn_on_long_lived_thread(command).with_context(|| format!("start {}", self.name))?;
        Ok(Process {
            name: self.name.clone(),
            child,
            log: self.log.clone(),
            stop: self.stop,
            lifetime,
            ended: None,
        })
    }
}

fn open_log(path: &Path) -> Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    }
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("open log {}", path.display()))
}

/// A running (or ended, not yet forgotten) child.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    stop: Signal,
    lifetime: Lifetime,
    ended: Option<ExitStatus>,
}

impl Process {
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log_path(&self) -> &Path {
        &self.log
    }

    pub fn log(&self) -> String {
        std::fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The exit status once it has ended.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Fails with the end of the log if the process is gone.
    pub fn must_be_running(&mut self) -> Result<()> {
        match self.ended() {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended ({}):\n{}",
                self.name,
                describe(status),
                tail(&self.log(), 30)
            ),
        }
    }

    pub fn signal(&mut self, signal: Signal) -> Result<()> {
        if self.ended().is_some() {
            return Ok(());
        }
        kill(self.nix_pid()?, signal).with_context(|| format!("signal {}", self.name))
    }

    /// `kill -9`, and reaps it.
    pub fn kill9(&mut self) -> Result<()> {
        self.signal(Signal::SIGKILL)?;
        self.wait(Duration::from_secs(10)).map(drop)
    }

    /// Asks it to stop and waits; an error if it does not within `patience` (it is killed then).
    pub fn stop(&mut self, timeout: Duration) -> Result<ExitStatus> {
        self.signal(self.stop)?;
        match self.wait(timeout) {
            Ok(status) => Ok(status),
            Err(error) => {
                self.kill9()?;
                Err(error)
            }
        }
    }

    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + timeout;
        loop {
            if let Some(status) = self.ended() {
                return Ok(status);
            }
            if Instant::now() >= end {
                bail!(
                    "{} did not end within {timeout:?}:\n{}",
                    self.name,
                    tail(&self.log(), 30)
                );
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn nix_pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(i32::try_from(self.child.id())?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.lifetime == Lifetime::Tied && self.ended().is_none() {
            // Nobody is left to tell; a process that ignores both signals shows as a leak in the run.
            drop(self.stop(Duration::from_secs(8)));
        }
    }
}

pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown status".to_owned(),
    }
}

pub fn tail(text: &str, lines: usize) -> String {
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// Runs a short program to its end and returns its standard output.
pub fn run(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {}", first_word(&shown)))?;
    if !output.status.success() {
        bail!(
            "{} failed ({}): {}",
            first_word(&shown),
            describe(output.status),
            tail(
                &String::from_utf8_lossy(&[output.stdout, output.stderr].concat()),
                20
            )
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Arguments may hold secrets; an error names only the program.
fn first_word(shown: &str) -> &str {
    shown
        .split_whitespace()
        .find(|word| !word.contains('='))
        .unwrap_or(shown)
}

type Job = (Command, mpsc::SyncSender<std::io::Result<Child>>);

fn spawn_on_long_lived_thread(command: Command) -> Result<Child> {
    static KEEPER: OnceLock<mpsc::Sender<Job>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (jobs, inbox) = mpsc::channel::<Job>();
        std::thread::spawn(move || {
            for (mut command, reply) in inbox {
                // The asker may have given up; then the child is dropped with the reply.
                drop(reply.send(command.spawn()));
            }
        });
        jobs
    });
    let (reply, answer) = mpsc::sync_channel(1);
    keeper
        .send((command, reply))
        .map_err(|_| anyhow!("the spawning thread is gone"))?;
    Ok(answer.recv().context("the spawning thread is gone")??)
}

#[cfg(test)]
mod tests;
