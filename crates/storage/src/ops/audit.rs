//! `audit_log`: who did what to what, and why. Append only.

use serde_json::Value;
use time::OffsetDateTime;

use crate::error::StorageError;
use crate::row::Reader;
use crate::session::{Session, execute, query};

/// One act of an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act<'a> {
    pub who: &'a str,
    /// Command and verb, e.g. `keys.revoke`.
    pub act: &'a str,
    pub target: &'a str,
    pub why: &'a str,
    /// Whatever else tells the story; never a secret.
    pub detail: Value,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    pub id: i64,
    pub at: OffsetDateTime,
    pub who: String,
    pub act: String,
    pub target: String,
    pub why: String,
    pub detail: Value,
}

statements! {
    INSERT = "insert into audit_log (actor, action, target, reason, detail) values ($1, $2, $3, $4, $5)";
    LIST = "\
select id, occurred_at, actor, action, target, reason, detail from audit_log
where ($1::text is null or action = $1 or action like $1 || '.%') and ($2::text is null or target = $2)
order by id desc limit $3";
}

/// Stand in the transaction of the act itself where there is one.
pub async fn record(session: &impl Session, act: &Act<'_>) -> Result<(), StorageError> {
    execute(
        session,
        INSERT,
        &[&act.who, &act.act, &act.target, &act.why, &act.detail],
    )
    .await?;
    Ok(())
}

/// Latest first. `act` also finds everything below it: `keys` finds `keys.revoke`.
pub async fn list(
    session: &impl Session,
    act: Option<&str>,
    target: Option<&str>,
    limit: i64,
) -> Result<Vec<AuditRow>, StorageError> {
    let rows = query(session, LIST, &[&act, &target, &limit]).await?;
    rows.iter()
        .map(|row| {
            let id = row.try_get("id")?;
            let reader = Reader::new(row, "audit_log", id);
            Ok(AuditRow {
                id,
                at: reader.get("occurred_at")?,
                who: reader.get("actor")?,
                act: reader.get("action")?,
                target: reader.get("target")?,
                why: reader.get("reason")?,
                detail: reader.get("detail")?,
            })
        })
        .collect()
}
