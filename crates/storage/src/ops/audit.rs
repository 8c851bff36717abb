//! `audit_log`: who did what to what, and why. Append only.

use serde_json::Value;
use time::OffsetDateTime;

use crate::error::StorageError;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query};

/// One action of an operator, to be recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditEntry<'a> {
    pub actor: &'a str,
    /// Command and verb, e.g. `keys.revoke`.
    pub action: &'a str,
    pub target: &'a str,
    pub reason: &'a str,
    /// Further details; never a secret.
    pub detail: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    pub id: i64,
    pub occurred_at: OffsetDateTime,
    pub actor: String,
    pub action: String,
    pub target: String,
    pub reason: String,
    pub detail: Value,
}

statements! {
    INSERT = "insert into audit_log (actor, action, target, reason, detail) values ($1, $2, $3, $4, $5)";
    LIST = "\
select id, occurred_at, actor, action, target, reason, detail from audit_log
where ($1::text is null or action = $1 or action like $1 || '.%') and ($2::text is null or target = $2)
order by id desc limit $3";
}

/// Call it in the transaction of the action itself where there is one.
pub async fn record(session: &impl DbSession, act: &AuditEntry<'_>) -> Result<(), StorageError> {
    execute(
        session,
        INSERT,
        &[&act.actor, &act.action, &act.target, &act.reason, &act.detail],
    )
    .await?;
    Ok(())
}

/// Latest first. `act` also finds everything below it: `keys` finds `keys.revoke`.
pub async fn list(
    session: &impl DbSession,
    act: Option<&str>,
    target: Option<&str>,
    limit: i64,
) -> Result<Vec<AuditRow>, StorageError> {
    let rows = query(session, LIST, &[&act, &target, &limit]).await?;
    rows.iter()
        .map(|row| {
            let id = row.try_get("id")?;
            let reader = RowReader::new(row, "audit_log", id);
            Ok(AuditRow {
                id,
                occurred_at: reader.get("occurred_at")?,
                actor: reader.get("actor")?,
                action: reader.get("action")?,
                target: reader.get("target")?,
                reason: reader.get("reason")?,
                detail: reader.get("detail")?,
            })
        })
        .collect()
}
