//! The schema, embedded in the binary and applied under a lock.

use std::time::Duration;

use tokio_postgres::{Client, NoTls};

use crate::error::StorageError;
use crate::pool::PoolConfig;

mod embedded {
    refinery::embed_migrations!("../../migrations");
}

/// "FRmigrat" as a number: only migrations take this lock.
const LOCK: i64 = 0x4652_6d69_6772_6174;

statements! {
    TAKE_LOCK = "select pg_advisory_lock($1)";
    PENDING_TABLE = "select to_regclass('refinery_schema_history') is not null as known";
}

/// One migration, applied or embedded in the binary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migration {
    pub version: i64,
    pub name: String,
}

/// Applies the missing migrations and lists them. Concurrent callers wait for each other; a migration that was edited after
/// it was applied is an error.
pub async fn migrate(config: &PoolConfig) -> Result<Vec<Migration>, StorageError> {
    with_own_connection(config, async |client| {
        client.execute(TAKE_LOCK, &[&LOCK]).await?;
        let report = embedded::migrations::runner()
            .set_abort_divergent(true)
            .set_abort_missing(false)
            .run_async(client)
            .await
            .map_err(of_refinery)?;
        Ok(report.applied_migrations().iter().map(as_migration).collect())
    })
    .await
}

/// Lists the migrations that this binary has and the database lacks; changes nothing.
pub async fn pending(config: &PoolConfig) -> Result<Vec<Migration>, StorageError> {
    with_own_connection(config, async |client| {
        let known = client.query_one(PENDING_TABLE, &[]).await?;
        let runner = embedded::migrations::runner();
        let applied: Vec<i64> = if known.try_get("known")? {
            let applied = runner.get_applied_migrations_async(client).await;
            let versions = applied.map_err(of_refinery)?;
            versions.iter().map(|m| i64::from(m.version())).collect()
        } else {
            Vec::new()
        };
        let missing = runner.get_migrations().iter().map(as_migration);
        Ok(missing.filter(|m| !applied.contains(&m.version)).collect())
    })
    .await
}

/// A connection of its own: migrations may run long, and the lock ends with the session.
async fn with_own_connection<T>(
    config: &PoolConfig,
    work: impl AsyncFnOnce(&mut Client) -> Result<T, StorageError>,
) -> Result<T, StorageError> {
    let mut config = config.clone();
    config.statement_timeout = Duration::ZERO;
    config.idle_in_transaction = Duration::ZERO;
    let unavailable = |error: tokio_postgres::Error| StorageError::Unavailable {
        what: "no connection",
        source: Some(error.into()),
    };
    let (mut client, connection) = config.parse()?.connect(NoTls).await.map_err(unavailable)?;
    let driver = tokio::spawn(connection);
    let result = work(&mut client).await;
    drop(client);
    // Waits until the session has ended, because that releases the lock.
    drop(driver.await);
    result
}

fn as_migration(migration: &refinery::Migration) -> Migration {
    Migration {
        version: i64::from(migration.version()),
        name: migration.name().to_owned(),
    }
}

fn of_refinery(error: refinery::Error) -> StorageError {
    StorageError::Bug {
        what: format!("migration: {error}"),
        source: Some(error.into()),
    }
}
