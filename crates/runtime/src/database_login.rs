//! Watches the file that contains the database URL, so that a new login is used without a restart (ADR 0012).

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use storage::{Pool, PoolConfig, StorageError};
use zeroize::Zeroizing;

use crate::observe;
use crate::periodic::Periodic;

/// The login of a pool, and the file that may contain a newer one.
#[derive(Debug)]
pub struct DatabaseLogin {
    file: PathBuf,
    config: PoolConfig,
    pool: Pool,
}

impl DatabaseLogin {
    pub fn new(file: PathBuf, config: PoolConfig, pool: Pool) -> Self {
        Self { file, config, pool }
    }
}

impl Periodic for DatabaseLogin {
    type Error = StorageError;

    /// A URL that does not work is tried again, and the current login stays in use meanwhile.
    async fn run(&mut self) -> Result<(), StorageError> {
        let Some(url) = read(&self.file).await else {
            return Ok(());
        };
        if url.expose_secret() == self.config.url.expose_secret() {
            return Ok(());
        }
        let next = PoolConfig {
            url,
            ..self.config.clone()
        };
        if let Err(error) = self.pool.replace(&next).await {
            observe::DATABASE_LOGINS.increment(["refused"]);
            tracing::error!(error = %domain::error_chain(&error), "the new database login does not work; the old one stays");
            return Err(error);
        }
        observe::DATABASE_LOGINS.increment(["taken_up"]);
        tracing::info!(database = self.pool.endpoint(), "database login renewed");
        self.config = next;
        Ok(())
    }
}

/// Returns `None` while the file cannot be read, for example because it is being replaced.
async fn read(file: &PathBuf) -> Option<SecretString> {
    let text = Zeroizing::new(tokio::fs::read_to_string(file).await.ok()?);
    let text = text.trim();
    (!text.is_empty()).then(|| text.into())
}
