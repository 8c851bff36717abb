//! PostgreSQL and RabbitMQ, for the test servers and for the stack alike.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use testkit::{
    broker,
    keys::random_hex,
    ports::free_port,
    postgres,
    process::{Lifetime, Process},
};

use crate::pids::Pids;

/// Chosen once and remembered, so that what is started again is found where it was.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Infra {
    pg_dir: PathBuf,
    pg_port: u16,
    pg_password: String,
    mq_port: u16,
    mq_management_port: u16,
    mq_distribution_port: u16,
    mq_epmd_port: u16,
    mq_password: String,
    durable: bool,
}

pub const POSTGRES: &str = "postgres";
pub const RABBITMQ: &str = "rabbitmq";
const EPMD: &str = "epmd";

impl Infra {
    /// `durable`: for data that should outlive a crash of the machine.
    pub fn choose(dir: &Path, durable: bool) -> Result<Self> {
        let base = postgres::reachable_base(dir)?;
        // Elsewhere than asked only if the server's user cannot get there; then under a name of its own.
        let pg_dir = if base == dir {
            dir.join(POSTGRES)
        } else {
            base.join(format!("fiatrails-postgres-{}", random_hex::<6>()?))
        };
        Ok(Self {
            pg_dir,
            pg_port: free_port()?,
            pg_password: random_hex::<16>()?,
            mq_port: free_port()?,
            mq_management_port: free_port()?,
            mq_distribution_port: free_port()?,
            mq_epmd_port: free_port()?,
            mq_password: random_hex::<16>()?,
            durable,
        })
    }

    pub fn postgres(&self, dir: &Path) -> postgres::Layout {
        postgres::Layout {
            dir: self.pg_dir.clone(),
            port: self.pg_port,
            password: self.pg_password.clone(),
            durable: self.durable,
            log: dir.join("log/postgres.log"),
        }
    }

    pub fn rabbitmq(&self, dir: &Path) -> broker::Layout {
        broker::Layout {
            dir: dir.join(RABBITMQ),
            amqp_port: self.mq_port,
            management_port: self.mq_management_port,
            distribution_port: self.mq_distribution_port,
            epmd_port: self.mq_epmd_port,
            user: "fiatrails".into(),
            password: self.mq_password.clone(),
            log: dir.join("log/rabbitmq.log"),
        }
    }

    /// Starts PostgreSQL if it does not run.
    pub async fn ensure_postgres(
        &self,
        dir: &Path,
        pids: &Pids,
        lifetime: Lifetime,
    ) -> Result<Option<Process>> {
        if pids.running(POSTGRES).is_some() {
            return Ok(None);
        }
        let layout = self.postgres(dir);
        let making = layout.clone();
        tokio::task::spawn_blocking(move || making.init()).await??;
        let process = postgres::start_and_wait(&layout, lifetime).await?;
        pids.record(POSTGRES, process.pid())?;
        Ok(Some(process))
    }

    /// Starts RabbitMQ (and its name daemon) if it does not run.
    pub async fn ensure_rabbitmq(&self, dir: &Path, pids: &Pids, lifetime: Lifetime) -> Result<Vec<Process>> {
        let layout = self.rabbitmq(dir);
        let mut started = Vec::new();
        if pids.running(EPMD).is_none() {
            layout.init()?;
            let epmd = layout.launch_epmd().spawn(lifetime)?;
            pids.record(EPMD, epmd.pid())?;
            started.push(epmd);
        }
        if pids.running(RABBITMQ).is_some() {
            return Ok(started);
        }
        layout.init()?;
        let mut node = layout.launch()?.spawn(lifetime)?;
        // Before the wait: an interrupted start must be found by `down`.
        pids.record(RABBITMQ, node.pid())?;
        broker::wait_until_ready(&layout, &mut node).await?;
        started.push(node);
        Ok(started)
    }

    /// At once: what is stopped is also forgotten.
    pub fn stop(pids: &Pids) -> Result<()> {
        let timeout = Duration::from_secs(20);
        pids.stop(RABBITMQ, Signal::SIGKILL, timeout)?;
        pids.stop(EPMD, Signal::SIGKILL, timeout)?;
        pids.stop(POSTGRES, Signal::SIGQUIT, timeout)?;
        Ok(())
    }

    /// Removes the servers' data.
    pub fn remove(&self, dir: &Path) -> Result<()> {
        for data in [&self.pg_dir, &dir.join(RABBITMQ)] {
            if data.exists() {
                std::fs::remove_dir_all(data)?;
            }
        }
        Ok(())
    }
}

/// Starts what does not run, both at once.
pub async fn ensure(infra: &Infra, dir: &Path, pids: &Pids, lifetime: Lifetime) -> Result<Vec<Process>> {
    let (postgres, mut started) = tokio::try_join!(
        infra.ensure_postgres(dir, pids, lifetime),
        infra.ensure_rabbitmq(dir, pids, lifetime)
    )?;
    started.extend(postgres);
    Ok(started)
}
