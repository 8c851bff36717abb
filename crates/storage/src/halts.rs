//! Switches that stop one kind of work until a person resumes it; every change is audited.

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query, query_one};

/// The kind of work that can be stopped.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, VariantArray, IntoStaticStr, Display, EnumString,
)]
#[strum(const_into_str, serialize_all = "snake_case", parse_err_ty = UnknownScope, parse_err_fn = UnknownScope::new)]
pub enum HaltScope {
    Intake,
    Submit,
    Execute,
    Refund,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the scopes are intake, submit, execute, refund")]
pub struct UnknownScope;

impl UnknownScope {
    const fn new(_: &str) -> Self {
        Self
    }
}

impl HaltScope {
    pub const ALL: [Self; Self::VARIANTS.len()] = domain::variants();

    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

/// The present state of one switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaltRow {
    pub scope: HaltScope,
    pub halted: bool,
    pub reason: String,
    pub changed_by: String,
}

statements! {
    READ = "select scope, halted, reason, changed_by from published.halts order by scope";
    SET =
        "insert into halts (scope, halted, reason, changed_by) values ($1, $2, $3, $4) \
         on conflict (scope) do update set halted = excluded.halted, reason = excluded.reason, \
         changed_by = excluded.changed_by, changed_at = now() \
         where halts.halted is distinct from excluded.halted";
    HALT_EXECUTES = "select halt_executes($1) as changed";
    AUDIT = "insert into audit_log (actor, action, target, reason) values ($1, $2, $3, $4)";
}

/// Every switch that was ever set; a scope without a row is not halted.
pub async fn read(session: &impl DbSession) -> Result<Vec<HaltRow>, StorageError> {
    let rows = query(session, READ, &[]).await?;
    let halt = |row| {
        let reader = RowReader::new(row, "halts", "scope");
        Ok(HaltRow {
            scope: reader.parse("scope")?,
            halted: reader.get("halted")?,
            reason: reader.get("reason")?,
            changed_by: reader.get("changed_by")?,
        })
    };
    rows.iter().map(halt).collect()
}

/// Sets a switch and returns whether that changed anything; only a change writes an audit row.
pub async fn set(
    tx: &DbTransaction<'_>,
    scope: HaltScope,
    halted: bool,
    reason: &str,
    by: &str,
) -> Result<bool, StorageError> {
    let changed = execute(tx, SET, &[&scope.name(), &halted, &reason, &by]).await? == 1;
    if changed {
        let act = if halted { "halt" } else { "resume" };
        execute(tx, AUDIT, &[&by, &act, &scope.name(), &reason]).await?;
    }
    Ok(changed)
}

/// Stops executes, audited under the name of the callback service, which may do this by itself. False when they were
/// halted already.
pub async fn halt_executes(tx: &DbTransaction<'_>, why: &str) -> Result<bool, StorageError> {
    Ok(query_one(tx, HALT_EXECUTES, &[&why]).await?.try_get("changed")?)
}
