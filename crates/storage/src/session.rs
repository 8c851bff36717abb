//! The targets of a statement: a client (one statement, its own transaction) or a transaction.

use deadpool_postgres::GenericClient;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use crate::error::StorageError;
use crate::pool::{DbClient, DbTransaction};

type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A client or a transaction. Statements are prepared once per connection.
pub trait DbSession: Sync {
    #[doc(hidden)]
    fn generic(&self) -> &impl GenericClient;
}

impl DbSession for DbClient {
    fn generic(&self) -> &impl GenericClient {
        &self.0
    }
}

impl DbSession for DbTransaction<'_> {
    fn generic(&self) -> &impl GenericClient {
        &self.0
    }
}

pub(crate) async fn query(
    session: &impl DbSession,
    sql: &str,
    params: Params<'_>,
) -> Result<Vec<Row>, StorageError> {
    let on = session.generic();
    let statement = on.prepare_cached(sql).await?;
    Ok(on.query(&statement, params).await?)
}

pub(crate) async fn query_opt(
    session: &impl DbSession,
    sql: &str,
    params: Params<'_>,
) -> Result<Option<Row>, StorageError> {
    let mut rows = query(session, sql, params).await?;
    if rows.len() > 1 {
        return Err(StorageError::bug("a statement for one row found several"));
    }
    Ok(rows.pop())
}

pub(crate) async fn query_one(
    session: &impl DbSession,
    sql: &str,
    params: Params<'_>,
) -> Result<Row, StorageError> {
    let row = query_opt(session, sql, params).await?;
    row.ok_or_else(|| StorageError::bug("a statement that always finds a row found none"))
}

/// Returns the number of rows affected.
pub(crate) async fn execute(
    session: &impl DbSession,
    sql: &str,
    params: Params<'_>,
) -> Result<u64, StorageError> {
    let on = session.generic();
    let statement = on.prepare_cached(sql).await?;
    Ok(on.execute(&statement, params).await?)
}

/// A guarded change of exactly one row; any other count means that somebody else changed it first.
pub(crate) async fn execute_one(
    session: &impl DbSession,
    sql: &str,
    params: Params<'_>,
    what: &'static str,
) -> Result<(), StorageError> {
    match execute(session, sql, params).await? {
        1 => Ok(()),
        _ => Err(StorageError::stale(what)),
    }
}
