//! Which of our processes run: `<dir>/<name>.pid`, and beside it what tells the process from a later
//! one that was given the same number.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

#[derive(Debug, Clone)]
pub struct Pids {
    dir: PathBuf,
}

impl Pids {
    pub fn new(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(Self { dir })
    }

    pub fn record(&self, name: &str, pid: u32) -> Result<()> {
        let identity = identity(pid).with_context(|| format!("{name} ended at once"))?;
        fs::write(self.file(name, "identity"), identity)?;
        fs::write(self.file(name, "pid"), format!("{pid}\n"))?;
        Ok(())
    }

    /// The pid, if the process we recorded still runs.
    pub fn running(&self, name: &str) -> Option<u32> {
        let pid = fs::read_to_string(self.file(name, "pid"))
            .ok()?
            .trim()
            .parse()
            .ok()?;
        let recorded = fs::read_to_string(self.file(name, "identity")).ok()?;
        (identity(pid)? == recorded).then_some(pid)
    }

    /// Asks it to end, kills it if it does not within `patience`; false if it did not run.
    pub fn stop(&self, name: &str, signal: Signal, timeout: Duration) -> Result<bool> {
        let Some(pid) = self.running(name) else {
            self.forget(name);
            return Ok(false);
        };
        let target = Pid::from_raw(i32::try_from(pid)?);
        for signal in [signal, Signal::SIGKILL] {
            // It may end by itself between the look and the signal.
            let _ = kill(target, signal);
            let end = Instant::now() + timeout;
            while Instant::now() < end {
                if self.running(name).is_none() {
                    self.forget(name);
                    return Ok(true);
                }
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        bail!("{name} (pid {pid}) survived a kill")
    }

    fn forget(&self, name: &str) {
        for kind in ["pid", "identity"] {
            // Absent is what is wanted.
            drop(fs::remove_file(self.file(name, kind)));
        }
    }

    fn file(&self, name: &str, kind: &str) -> PathBuf {
        self.dir.join(format!("{name}.{kind}"))
    }
}

/// Boot and start time of a live process; `None` for none, and for one that only waits to be reaped.
fn identity(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The name, in parentheses, may hold anything; the fields after it are plain.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    let started = fields.nth(18)?;
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(format!("{} {started}\n", boot.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_process_with_a_recorded_number_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let pids = Pids::new(dir.path()).unwrap();
        let mut foreign = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        pids.record("ours", foreign.id()).unwrap();
        assert_eq!(pids.running("ours"), Some(foreign.id()));
        fs::write(dir.path().join("ours.identity"), "another boot 1\n").unwrap();
        assert_eq!(pids.running("ours"), None);
        assert!(
            !pids
                .stop("ours", Signal::SIGTERM, Duration::from_secs(1))
                .unwrap()
        );
        assert!(foreign.try_wait().unwrap().is_none());
        foreign.kill().unwrap();
        foreign.wait().unwrap();
    }
}
