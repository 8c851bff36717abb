//! The PostgreSQL and RabbitMQ servers (and the deployed-chain snapshot) that all tests of a run share.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::{
    addresses::{Addresses, beside},
    broker::Vhost,
    database::Database,
};

pub const PG_URL: &str = "TESTKIT_PG_URL";
pub const AMQP_URL: &str = "TESTKIT_AMQP_URL";
pub const AMQP_MANAGEMENT_URL: &str = "TESTKIT_AMQP_MANAGEMENT_URL";
pub const CHAIN_STATE: &str = "TESTKIT_CHAIN_STATE";
pub const TMP: &str = "TESTKIT_TMP";

/// Handles to the shared servers. Each test takes its own database and virtual host from them.
#[derive(Debug, Clone)]
pub struct Servers {
    pub pg_url: String,
    pub amqp_url: String,
    pub amqp_management_url: String,
}

impl Servers {
    pub fn shared() -> Result<Self> {
        Ok(Self {
            pg_url: setting(PG_URL)?,
            amqp_url: setting(AMQP_URL)?,
            amqp_management_url: setting(AMQP_MANAGEMENT_URL)?,
        })
    }

    /// A fresh migrated database.
    pub async fn database(&self) -> Result<Database> {
        Database::create(&self.pg_url).await
    }

    pub async fn vhost(&self) -> Result<Vhost> {
        Vhost::create(&self.amqp_url, &self.amqp_management_url).await
    }

    /// The snapshot of a chain with the contracts deployed, and where they are.
    pub fn chain_state() -> Result<(PathBuf, Addresses)> {
        let state = PathBuf::from(setting(CHAIN_STATE)?);
        let addresses = Addresses::read(&beside(&state))?;
        Ok((state, addresses))
    }
}

fn setting(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| {
        format!(
            "{name} is not set: this test uses the shared test servers. Run `make test`, or start them \
             for this shell with: eval \"$(make -s test-env)\""
        )
    })
}
