//! A private PostgreSQL server: own data directory, own port, TCP on the loopback only.
//!
//! The server refuses to run as root; started by root it runs as user `postgres`, and its directory
//! then lies where that user can reach it.

use std::{
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{sys::signal::Signal, unistd::User};
use tempfile::TempDir;

use crate::{
    dirs,
    keys::random_hex,
    ports::Port,
    process::{Launch, Lifetime, Process, run},
};

pub const SUPERUSER: &str = "postgres";

/// Where a server lives and how it is reached; enough to start it again.
#[derive(Debug, Clone)]
pub struct Layout {
    pub dir: PathBuf,
    pub port: u16,
    pub password: String,
    /// `fsync` on: for stacks whose data outlives the machine's next crash. Tests do without.
    pub durable: bool,
    pub log: PathBuf,
}

impl Layout {
    pub fn url(&self, database: &str) -> String {
        format!(
            "postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}",
            self.password, self.port
        )
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// Creates the data directory if it is not there yet.
    pub fn init(&self) -> Result<()> {
        if self.data().join("PG_VERSION").is_file() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.dir)?;
        std::fs::set_permissions(&self.dir, PermissionsExt::from_mode(0o711))?;
        // A half-made directory of an interrupted run would be refused.
        if self.data().exists() {
            std::fs::remove_dir_all(self.data())?;
        }
        std::fs::create_dir(self.data())?;
        let password_file = self.dir.join("password");
        std::fs::write(&password_file, &self.password)?;
        std::fs::set_permissions(&password_file, PermissionsExt::from_mode(0o600))?;
        give_to_server_user(&self.data())?;
        give_to_server_user(&password_file)?;

        let mut command = server_user_command(&server_binary("initdb")?);
        command
            .arg("--pgdata")
            .arg(self.data())
            .arg("--pwfile")
            .arg(&password_file)
            .args([
                "--username",
                SUPERUSER,
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
            ])
            .current_dir(&self.dir);
        if !self.durable {
            command.arg("--no-sync");
        }
        run(&mut command)?;
        std::fs::remove_file(&password_file)?;
        Ok(())
    }

    pub fn launch(&self) -> Result<Launch> {
        let mut launch = Launch::new("postgres", server_binary("postgres")?, &self.log)
            .user(server_user())
            .cwd(&self.dir)
            .arg("-D")
            .arg(self.data());
        for setting in self.settings() {
            launch = launch.arg("-c").arg(setting);
        }
        // Immediate shutdown: also on the owner's death, so that shared memory is given back.
        Ok(launch.stop_signal(if self.durable {
            Signal::SIGINT
        } else {
            Signal::SIGQUIT
        }))
    }

    fn settings(&self) -> Vec<String> {
        let onoff = if self.durable { "on" } else { "off" };
        vec![
            format!("port={}", self.port),
            "listen_addresses=127.0.0.1".into(),
            // A socket path has 107 bytes at most, and a clone may lie deep.
            "unix_socket_directories=".into(),
            format!("fsync={onoff}"),
            format!("full_page_writes={onoff}"),
            "max_connections=400".into(),
            "shared_buffers=128MB".into(),
            // Files in the data directory: nothing stays in /dev/shm after a kill.
            "dynamic_shared_memory_type=mmap".into(),
            "wal_level=minimal".into(),
            "max_wal_senders=0".into(),
            "log_line_prefix=%m [%p] %d ".into(),
            "timezone=UTC".into(),
        ]
    }

    pub fn answers(&self) -> bool {
        psql(&self.url("postgres"), "select 1").is_ok()
    }
}

/// A server tied to its owner.
#[derive(Debug)]
pub struct PostgresServer {
    layout: Layout,
    process: Process,
    _port: Port,
    _dir: TempDir,
}

impl PostgresServer {
    pub async fn start() -> Result<Self> {
        Self::start_in(&dirs::temporary()).await
    }

    /// With its directory inside `base`, or elsewhere if the server's user cannot get there.
    pub async fn start_in(base: &Path) -> Result<Self> {
        let dir = dirs::private_in(&reachable_base(base)?, "pg")?;
        let port = Port::reserve()?;
        let layout = Layout {
            dir: dir.path().join("postgres"),
            port: port.number(),
            password: random_hex::<16>()?,
            durable: false,
            log: dir.path().join("postgres.log"),
        };
        let making = layout.clone();
        tokio::task::spawn_blocking(move || making.init()).await??;
        let process = start_and_wait(&layout, Lifetime::Tied).await?;
        Ok(Self {
            layout,
            process,
            _port: port,
            _dir: dir,
        })
    }

    /// As superuser, to the maintenance database.
    pub fn url(&self) -> String {
        self.layout.url("postgres")
    }

    pub fn port(&self) -> u16 {
        self.layout.port
    }

    pub fn log(&self) -> String {
        self.process.log()
    }

    /// As a crash would: no checkpoint, connections cut.
    pub fn kill9(&mut self) -> Result<()> {
        self.process.kill9()
    }

    /// Starts it again on the same port and data after [`Self::kill9`].
    pub async fn restart(&mut self) -> Result<()> {
        if self.process.ended().is_none() {
            self.process.stop(Duration::from_secs(10))?;
        }
        self.process = start_and_wait(&self.layout, Lifetime::Tied).await?;
        Ok(())
    }
}

/// Starts and waits until it answers queries.
///
/// After a `kill -9` the old children hold the shared memory a little longer and the first start is
/// refused; so an early end is tried again until the deadline.
pub async fn start_and_wait(layout: &Layout, lifetime: Lifetime) -> Result<Process> {
    let end = Instant::now() + Duration::from_mins(2);
    let mut process = layout.launch()?.spawn(lifetime)?;
    loop {
        let probe = layout.clone();
        if tokio::task::spawn_blocking(move || probe.answers()).await? {
            process.must_be_running()?;
            return Ok(process);
        }
        if Instant::now() > end {
            process.must_be_running()?;
            bail!(
                "PostgreSQL does not answer on port {}; log: {}",
                layout.port,
                layout.log.display()
            );
        }
        crate::wait::pause(Duration::from_millis(40)).await;
        if process.ended().is_some() {
            process = layout.launch()?.spawn(lifetime)?;
        }
    }
}

/// Runs SQL with `psql` (stops at the first error); returns unaligned rows without headers.
pub fn psql(url: &str, sql: &str) -> Result<String> {
    psql_command(url, |command| {
        command.arg("-c").arg(sql);
    })
}

pub fn psql_file(url: &str, file: &Path) -> Result<String> {
    psql_command(url, |command| {
        command.arg("--single-transaction").arg("-f").arg(file);
    })
}

fn psql_command(url: &str, more: impl FnOnce(&mut Command)) -> Result<String> {
    let (bare, password) = split_password(url)?;
    let mut command = Command::new(server_binary("psql")?);
    command
        .args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &bare])
        .env("PGPASSWORD", password)
        .env("PGCONNECT_TIMEOUT", "5")
        .env("PGOPTIONS", "-c client_min_messages=warning");
    more(&mut command);
    run(&mut command)
}

/// The password goes by environment: a command line can be read by everyone.
fn split_password(url: &str) -> Result<(String, String)> {
    let parsed = reqwest::Url::parse(url).context("database URL")?;
    let password = parsed.password().unwrap_or_default().to_owned();
    let mut bare = parsed;
    if bare.set_password(None).is_err() {
        bail!("database URL has no host");
    }
    Ok((bare.into(), password))
}

/// `name` of the newest installed PostgreSQL (Debian keeps them out of PATH).
pub fn server_binary(name: &str) -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            Some((
                entry.file_name().to_str()?.parse().ok()?,
                entry.path().join("bin").join(name),
            ))
        })
        .filter(|(_, path)| path.is_file())
        .collect();
    found.sort();
    let in_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path)
            .map(|dir| dir.join(name))
            .find(|file| file.is_file())
    };
    found
        .pop()
        .map(|(_, path)| path)
        .or_else(in_path)
        .with_context(|| format!("PostgreSQL's {name} is not installed; run scripts/install-tools"))
}

/// The user the server must run as, if not our own.
fn server_user() -> Option<&'static str> {
    nix::unistd::geteuid().is_root().then_some("postgres")
}

/// A base for server directories that the server's user can walk to.
pub fn reachable_base(preferred: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(preferred)?;
    let Some(user) = server_user() else {
        return Ok(preferred.to_path_buf());
    };
    for base in [
        preferred,
        &std::env::temp_dir(),
        Path::new("/var/tmp"),
        Path::new("/tmp"),
    ] {
        if dirs::reachable_by(user, base) {
            return Ok(base.to_path_buf());
        }
    }
    bail!(
        "user {user} can reach neither {} nor the temporary directories",
        preferred.display()
    )
}

fn give_to_server_user(path: &Path) -> Result<()> {
    let Some(name) = server_user() else {
        return Ok(std::fs::set_permissions(path, PermissionsExt::from_mode(0o700))?);
    };
    let user =
        User::from_name(name)?.with_context(|| format!("no user {name}; run scripts/install-tools"))?;
    chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
    if path.is_dir() {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o700))?;
    }
    Ok(())
}

fn server_user_command(program: &Path) -> Command {
    match server_user() {
        None => Command::new(program),
        Some(user) => {
            let mut command = Command::new("setpriv");
            command
                .args([
                    &format!("--reuid={user}"),
                    &format!("--regid={user}"),
                    "--clear-groups",
                ])
                .arg(program);
            command
        }
    }
}
