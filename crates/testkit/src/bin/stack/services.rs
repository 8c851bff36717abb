//! The servers all tests of a run share: PostgreSQL, RabbitMQ, and a snapshot of a deployed chain.

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus},
};

use anyhow::{Context, Result};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use testkit::{
    Broker, PostgresServer, contracts, database::migrated_template, dirs, process::Lifetime, servers,
};

use tokio::signal::unix::{SignalKind, signal};

use crate::{
    infra::{self, Infra},
    pids::Pids,
    state,
};

const RUN: &str = "run";
/// Locked for as long as the run lives.
const OWNED: &str = "owned";

type Settings = Vec<(&'static str, String)>;

pub async fn up(dir: &Path, env_out: &Path) -> Result<()> {
    let dir = &state::prepare_dir(dir)?;
    let infra: Infra = state::load_or(dir, || Infra::choose(dir, false))?;
    infra::ensure(&infra, dir, &Pids::new(dir.join("run"))?, Lifetime::Detached).await?;
    let mq = infra.rabbitmq(dir);
    let settings = settings(
        dir,
        infra.postgres(dir).url("postgres"),
        mq.amqp_url(),
        mq.management_url(),
    )
    .await?;
    state::write_env(env_out, &settings)
}

/// Servers tied to this process, for the length of one command.
pub async fn run(command: &[String]) -> Result<ExitCode> {
    remove_abandoned(&dirs::temporary())?;
    let dir = dirs::private(RUN)?;
    let owned = File::create(dir.path().join(OWNED))?;
    owned.lock()?;
    let (postgres, broker) =
        tokio::try_join!(PostgresServer::start_in(dir.path()), Broker::start_in(dir.path()))?;
    let settings = settings(dir.path(), postgres.url(), broker.url(), broker.management_url()).await?;

    let (program, args) = command.split_first().context("no command to run")?;
    // Ends with us also when we are killed: tests without their servers would only fail one by one.
    let mut child = tokio::process::Command::new("setpriv")
        .args(["--pdeathsig=TERM", program])
        .args(args)
        .envs(settings)
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {program}"))?;
    let mut terminated = signal(SignalKind::terminate())?;
    let mut interrupted = signal(SignalKind::interrupt())?;
    let status = tokio::select! {
        status = child.wait() => status?,
        _ = terminated.recv() => end(&mut child).await?,
        // The terminal has told the command as well; it ends by itself.
        _ = interrupted.recv() => child.wait().await?,
    };
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

/// Directories of runs that were killed before they could tidy up: their lock is free.
fn remove_abandoned(base: &Path) -> Result<()> {
    let prefix = format!("{}{RUN}-", dirs::PREFIX);
    for entry in fs::read_dir(base).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let ours = name.to_str().is_some_and(|name| name.starts_with(&prefix));
        // Without the file it may be one that is being made at this moment.
        let Some(lock) = ours.then(|| File::open(entry.path().join(OWNED)).ok()).flatten() else {
            continue;
        };
        if lock.try_lock().is_ok() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

async fn end(child: &mut tokio::process::Child) -> Result<ExitStatus> {
    if let Some(pid) = child.id() {
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
    }
    Ok(child.wait().await?)
}

async fn settings(dir: &Path, pg_url: String, amqp_url: String, management_url: String) -> Result<Settings> {
    let tmp = dir.join("tmp");
    fs::create_dir_all(&tmp)?;
    fs::set_permissions(&tmp, PermissionsExt::from_mode(0o711))?;
    // Made here once, so that the first tests do not queue for it.
    let url = pg_url.clone();
    tokio::task::spawn_blocking(move || migrated_template(&url)).await??;
    let mut settings = vec![
        (servers::PG_URL, pg_url),
        (servers::AMQP_URL, amqp_url),
        (servers::AMQP_MANAGEMENT_URL, management_url),
        (servers::TMP, tmp.display().to_string()),
    ];
    if let Some(state) = chain_snapshot(dir).await? {
        settings.push((servers::CHAIN_STATE, state.display().to_string()));
    }
    Ok(settings)
}

pub fn down(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let dir = &dir.canonicalize()?;
    Infra::stop(&Pids::new(dir.join("run"))?)?;
    if let Some(infra) = state::load::<Infra>(dir)? {
        infra.remove(dir)?;
    }
    fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))
}

/// A chain with the contracts as they are now; `None` while there is nothing to deploy.
async fn chain_snapshot(dir: &Path) -> Result<Option<PathBuf>> {
    let contracts_dir = dirs::workspace().join("contracts");
    if !contracts_dir.join("deploy.sh").is_file() {
        eprintln!("no contracts/deploy.sh: tests that need a deployed chain will not run");
        return Ok(None);
    }
    let state = dir.join(contracts::snapshot_name()?);
    if !state.is_file() {
        contracts::snapshot(&state).await?;
    }
    Ok(Some(state))
}
