//! `exceptions`, for the person who works through them: the callback service opens them, a person resolves them.

use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query, query_opt};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExceptionRow {
    pub id: i64,
    pub kind: String,
    pub tx_ref: String,
    pub intent_id: Option<Vec<u8>>,
    pub receipt: Option<String>,
    pub amount_shillings: Option<String>,
    pub detail: String,
    /// Stops every command of the txRef until resolved.
    pub is_hold: bool,
    pub opened_at: OffsetDateTime,
    pub resolved_at: Option<OffsetDateTime>,
    pub resolved_by: Option<String>,
    pub resolution: Option<String>,
}

/// Which exceptions to list; `None` means any.
#[derive(Clone, Debug, Default)]
pub struct ExceptionFilter<'a> {
    pub kind: Option<&'a str>,
    pub tx_ref: Option<&'a str>,
    pub with_resolved: bool,
    pub limit: i64,
}

statements! {
    LIST = "\
select id, kind, tx_ref, intent_id, receipt, amount_shillings::text as amount_shillings, detail, is_hold, opened_at,
       resolved_at, resolved_by, resolution
from exceptions
where ($1::text is null or kind = $1) and ($2::text is null or tx_ref = $2) and ($3 or resolved_at is null)
order by id limit $4";
    FIND = "\
select id, kind, tx_ref, intent_id, receipt, amount_shillings::text as amount_shillings, detail, is_hold, opened_at,
       resolved_at, resolved_by, resolution
from exceptions where id = $1";
    RESOLVE = "\
update exceptions set resolved_at = now(), resolved_by = $2, resolution = $3
where id = $1 and resolved_at is null";
}

/// Oldest first.
pub async fn list(
    session: &impl DbSession,
    filter: &ExceptionFilter<'_>,
) -> Result<Vec<ExceptionRow>, StorageError> {
    let rows = query(
        session,
        LIST,
        &[&filter.kind, &filter.tx_ref, &filter.with_resolved, &filter.limit],
    )
    .await?;
    rows.iter().map(read).collect()
}

pub async fn find(session: &impl DbSession, id: i64) -> Result<Option<ExceptionRow>, StorageError> {
    query_opt(session, FIND, &[&id])
        .await?
        .as_ref()
        .map(read)
        .transpose()
}

/// False when there is no such exception or it is resolved already.
pub async fn resolve(
    tx: &DbTransaction<'_>,
    id: i64,
    by: &str,
    resolution: &str,
) -> Result<bool, StorageError> {
    Ok(execute(tx, RESOLVE, &[&id, &by, &resolution]).await? == 1)
}

fn read(row: &Row) -> Result<ExceptionRow, StorageError> {
    let id = row.try_get("id")?;
    let reader = RowReader::new(row, "exceptions", id);
    Ok(ExceptionRow {
        id,
        kind: reader.get("kind")?,
        tx_ref: reader.get("tx_ref")?,
        intent_id: reader.get("intent_id")?,
        receipt: reader.get("receipt")?,
        amount_shillings: reader.get("amount_shillings")?,
        detail: reader.get("detail")?,
        is_hold: reader.get("is_hold")?,
        opened_at: reader.get("opened_at")?,
        resolved_at: reader.get("resolved_at")?,
        resolved_by: reader.get("resolved_by")?,
        resolution: reader.get("resolution")?,
    })
}
