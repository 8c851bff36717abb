//! A small pool of connections with time limits, and transactions whose commit result cannot be misread.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, PoolError, RecyclingMethod, Runtime};
use parking_lot::RwLock;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::{Instant, timeout};
use tokio_postgres::NoTls;

use crate::error::StorageError;
use crate::observe;

/// Time limit of a commit, above the server's own statement time-out.
const COMMIT_TIMEOUT: Duration = Duration::from_secs(15);

/// The address of the database, and the time limits of connections, statements and locks.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// `postgres://user:password@host:port/database`.
    pub url: SecretString,
    /// Shown in `pg_stat_activity`.
    pub application: &'static str,
    pub max_size: usize,
    /// Bound of connecting, and of waiting for a free connection.
    pub connect_timeout: Duration,
    pub statement_timeout: Duration,
    pub lock_timeout: Duration,
    /// How long a transaction may wait for its client, so that a client that hangs does not keep its locks.
    pub idle_in_transaction: Duration,
}

impl PoolConfig {
    pub fn new(url: SecretString, application: &'static str) -> Self {
        Self {
            url,
            application,
            max_size: 8,
            connect_timeout: Duration::from_secs(3),
            statement_timeout: Duration::from_secs(10),
            lock_timeout: Duration::from_secs(5),
            idle_in_transaction: Duration::from_secs(10),
        }
    }

    pub(crate) fn parse(&self) -> Result<tokio_postgres::Config, StorageError> {
        // The parser's own message may quote the URL, so it is dropped.
        let mut config: tokio_postgres::Config = self.url.expose_secret().parse().map_err(|_| {
            StorageError::bug("the database URL is not postgres://user:password@host/database")
        })?;
        let options = format!(
            "-c statement_timeout={} -c lock_timeout={} -c idle_in_transaction_session_timeout={}",
            self.statement_timeout.as_millis(),
            self.lock_timeout.as_millis(),
            self.idle_in_transaction.as_millis(),
        );
        config
            .application_name(self.application)
            .options(options)
            .connect_timeout(self.connect_timeout)
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(10))
            .tcp_user_timeout(Duration::from_secs(15));
        Ok(config)
    }
}

/// A bounded pool; clones share it. Its settings can be replaced while it is in use: that is how a login rotates.
#[derive(Clone)]
pub struct Pool(Arc<RwLock<Current>>);

#[derive(Clone)]
struct Current {
    inner: deadpool_postgres::Pool,
    endpoint: String,
}

impl Pool {
    /// Parses the settings; connects only when first used.
    pub fn new(config: &PoolConfig) -> Result<Self, StorageError> {
        Ok(Self(Arc::new(RwLock::new(Current::new(config)?))))
    }

    /// Tries the new settings; if they work, every later connection uses them. Connections in use are closed after
    /// their work.
    pub async fn replace(&self, config: &PoolConfig) -> Result<(), StorageError> {
        let next = Current::new(config)?;
        drop(next.inner.get().await.map_err(unavailable)?);
        let mut current = self.0.write();
        let before = std::mem::replace(&mut *current, next);
        drop(current);
        before.inner.close();
        Ok(())
    }

    fn current(&self) -> Current {
        self.0.read().clone()
    }

    /// A connection, waiting for at most the connect time-out.
    pub async fn get(&self) -> Result<DbClient, StorageError> {
        let started = Instant::now();
        let mut inner = self.current().inner;
        let mut result = inner.get().await;
        if matches!(result, Err(PoolError::Closed)) && !self.current().inner.is_closed() {
            // The pool was replaced after it was read.
            inner = self.current().inner;
            result = inner.get().await;
        }
        observe::POOL_WAIT.record([], started.elapsed().as_secs_f64());
        let status = inner.status();
        observe::POOL_IN_USE.set([], meter::number(status.size.saturating_sub(status.available)));
        result.map(DbClient).map_err(|error| {
            observe::POOL_FAILURES.increment([]);
            unavailable(error)
        })
    }

    /// Server, database and user; safe to log.
    pub fn endpoint(&self) -> String {
        self.current().endpoint
    }

    pub fn close(&self) {
        self.current().inner.close();
    }
}

impl Current {
    fn new(config: &PoolConfig) -> Result<Self, StorageError> {
        let parsed = config.parse()?;
        let endpoint = describe(&parsed);
        let recycling_method = RecyclingMethod::Fast;
        let manager = Manager::from_config(parsed, NoTls, ManagerConfig { recycling_method });
        let inner = deadpool_postgres::Pool::builder(manager)
            .max_size(config.max_size)
            .wait_timeout(Some(config.connect_timeout))
            .create_timeout(Some(config.connect_timeout))
            .recycle_timeout(Some(config.connect_timeout))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| StorageError::bug(error.to_string()))?;
        Ok(Self { inner, endpoint })
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("endpoint", &self.endpoint())
            .finish_non_exhaustive()
    }
}

fn unavailable(error: PoolError) -> StorageError {
    let what = match &error {
        PoolError::Timeout(_) => "no free connection in time",
        PoolError::Closed => "the pool is closed",
        _ => "no connection",
    };
    StorageError::Unavailable {
        what,
        source: Some(error.into()),
    }
}

fn describe(config: &tokio_postgres::Config) -> String {
    let host = config
        .get_hosts()
        .first()
        .map_or_else(String::new, |host| match host {
            tokio_postgres::config::Host::Tcp(name) => name.clone(),
            tokio_postgres::config::Host::Unix(path) => path.display().to_string(),
        });
    let port = config.get_ports().first().copied().unwrap_or(5432);
    let user = config.get_user().unwrap_or_default();
    let database = config.get_dbname().unwrap_or_default();
    format!("postgres://{user}@{host}:{port}/{database}")
}

/// A connection of the pool.
pub struct DbClient(pub(crate) deadpool_postgres::Client);

impl DbClient {
    pub async fn begin(&mut self) -> Result<DbTransaction<'_>, StorageError> {
        Ok(DbTransaction(self.0.transaction().await?))
    }
}

/// An open transaction; rolled back when dropped.
pub struct DbTransaction<'a>(pub(crate) deadpool_postgres::Transaction<'a>);

impl DbTransaction<'_> {
    /// Commits. A lost answer is [`StorageError::CommitUnknown`], not a failure.
    pub async fn commit(self) -> Result<(), StorageError> {
        match timeout(COMMIT_TIMEOUT, self.0.commit()).await {
            Ok(result) => result.map_err(StorageError::of_commit),
            Err(_) => Err(StorageError::CommitUnknown { source: None }),
        }
    }

    pub async fn rollback(self) -> Result<(), StorageError> {
        Ok(self.0.rollback().await?)
    }

    /// A part of the transaction that can be rolled back alone: commit or drop it.
    pub async fn savepoint(&mut self) -> Result<DbTransaction<'_>, StorageError> {
        Ok(DbTransaction(self.0.transaction().await?))
    }
}

impl fmt::Debug for DbClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Client")
    }
}

impl fmt::Debug for DbTransaction<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transaction")
    }
}

impl<'a> Deref for DbTransaction<'a> {
    type Target = deadpool_postgres::Transaction<'a>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Deref for DbClient {
    type Target = deadpool_postgres::Client;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_never_shown() {
        let config = PoolConfig::new("postgres://u:canary-secret@localhost:1/db".into(), "test");
        let pool = Pool::new(&config).unwrap();
        let shown = format!("{pool:?} {config:?} {}", pool.endpoint());
        assert!(!shown.contains("canary-secret"), "{shown}");
        let bad = PoolConfig::new("mysql://u:canary-secret@localhost".into(), "test");
        assert!(!format!("{:?}", Pool::new(&bad).unwrap_err()).contains("canary-secret"));
    }
}
