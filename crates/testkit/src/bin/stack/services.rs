//! The servers all tests of a run share: PostgreSQL, RabbitMQ, and a snapshot of a deployed chain.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use testkit::{contracts, database::migrated_template, dirs, servers};

use crate::{infra::Infra, pids::Pids, state};

pub async fn up(dir: &Path, env_out: &Path) -> Result<()> {
    let dir = &state::prepare_dir(dir)?;
    let infra: Infra = state::load_or(dir, || Infra::choose(dir, false))?;
    infra.ensure(dir, &Pids::new(dir.join("run"))?).await?;

    let tmp = dir.join("tmp");
    fs::create_dir_all(&tmp)?;
    let pg = infra.postgres(dir).url("postgres");
    // Made here once, so that the first tests do not queue for it.
    let url = pg.clone();
    tokio::task::spawn_blocking(move || migrated_template(&url)).await??;
    let mq = infra.rabbitmq(dir);
    let mut settings = vec![
        (servers::PG_URL, pg),
        (servers::AMQP_URL, mq.amqp_url()),
        (servers::AMQP_MANAGEMENT_URL, mq.management_url()),
        (servers::TMP, tmp.display().to_string()),
    ];
    if let Some(state) = chain_snapshot(dir).await? {
        settings.push((servers::CHAIN_STATE, state.display().to_string()));
    }
    state::write_env(env_out, &settings)
}

pub fn down(dir: &Path) -> Result<()> {
    if !dir.exists() {
        return Ok(());
    }
    let dir = &dir.canonicalize()?;
    Infra::stop(&Pids::new(dir.join("run"))?, false)?;
    if let Some(infra) = state::load::<Infra>(dir)? {
        infra.remove_outside(dir)?;
    }
    fs::remove_dir_all(dir).with_context(|| format!("remove {}", dir.display()))
}

/// Made anew whenever the compiled contracts are newer; `None` while there is nothing to deploy.
async fn chain_snapshot(dir: &Path) -> Result<Option<PathBuf>> {
    if !dirs::workspace().join("contracts/deploy.sh").is_file() {
        eprintln!("no contracts/deploy.sh: tests that need a deployed chain will not run");
        return Ok(None);
    }
    let state = dir.join("chain.json");
    if !state.is_file() {
        contracts::snapshot(&state).await?;
    }
    Ok(Some(state))
}
