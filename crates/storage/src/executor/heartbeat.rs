//! The executor's view of the chain, for services that must report it without calling the executor.

use uuid::Uuid;

use super::legs::to_bigint;
use crate::error::StorageError;
use crate::session::{DbSession, execute, query_one};

statements! {
    RECORD =
        "insert into executor_heartbeats (instance, reported_at, rpc_connected, rpc_latency_ms, head, blocked_reason) \
         values ($1, clock_timestamp(), $2, $3, $4, $5) on conflict (instance) do update set \
         reported_at = excluded.reported_at, rpc_connected = excluded.rpc_connected, rpc_latency_ms = excluded.rpc_latency_ms, \
         head = excluded.head, blocked_reason = excluded.blocked_reason";
    DELETE_OLD = "delete from executor_heartbeats where reported_at < clock_timestamp() - interval '10 minutes'";
    KNOWS_BLOCK_AFTER =
        "select exists (select from executor_heartbeats where instance <> $1 and rpc_connected and blocked_reason is null \
                        and head > $2 and reported_at > clock_timestamp() - interval '10 seconds') as found";
    REMOVE = "delete from executor_heartbeats where instance = $1";
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecutorHeartbeat {
    pub rpc_connected: bool,
    pub rpc_latency_ms: Option<u32>,
    pub head: Option<u64>,
    /// Why this executor refuses to work, if it does.
    pub blocked_reason: Option<String>,
}

pub async fn record(
    session: &impl DbSession,
    instance: Uuid,
    report: &ExecutorHeartbeat,
) -> Result<(), StorageError> {
    let latency = report
        .rpc_latency_ms
        .map(|ms| i32::try_from(ms).unwrap_or(i32::MAX));
    let head = report.head.map(to_bigint).transpose()?;
    execute(
        session,
        RECORD,
        &[
            &instance,
            &report.rpc_connected,
            &latency,
            &head,
            &report.blocked_reason,
        ],
    )
    .await?;
    execute(session, DELETE_OLD, &[]).await?;
    Ok(())
}

/// Whether another executor with a recent heartbeat knows a later block than this one.
pub async fn another_knows_block_after(
    session: &impl DbSession,
    instance: Uuid,
    block: u64,
) -> Result<bool, StorageError> {
    let row = query_one(session, KNOWS_BLOCK_AFTER, &[&instance, &to_bigint(block)?]).await?;
    Ok(row.try_get("found")?)
}

/// Deletes the row of an executor that stops.
pub async fn remove(session: &impl DbSession, instance: Uuid) -> Result<(), StorageError> {
    execute(session, REMOVE, &[&instance]).await?;
    Ok(())
}
