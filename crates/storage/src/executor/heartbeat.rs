//! What the executor last saw of the chain, for whoever must tell without asking it.

use uuid::Uuid;

use super::legs::signed;
use crate::error::StorageError;
use crate::session::{Session, execute, query_one};

statements! {
    BEAT =
        "insert into executor_heartbeats (instance, reported_at, rpc_connected, rpc_latency_ms, head, blocked_reason) \
         values ($1, clock_timestamp(), $2, $3, $4, $5) on conflict (instance) do update set \
         reported_at = excluded.reported_at, rpc_connected = excluded.rpc_connected, rpc_latency_ms = excluded.rpc_latency_ms, \
         head = excluded.head, blocked_reason = excluded.blocked_reason";
    SWEEP = "delete from executor_heartbeats where reported_at < clock_timestamp() - interval '10 minutes'";
    SEES_FURTHER =
        "select exists (select from executor_heartbeats where instance <> $1 and rpc_connected and blocked_reason is null \
                        and head > $2 and reported_at > clock_timestamp() - interval '10 seconds') as found";
    LEAVE = "delete from executor_heartbeats where instance = $1";
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecutorHeartbeat {
    pub rpc_connected: bool,
    pub rpc_latency_ms: Option<u32>,
    pub head: Option<u64>,
    /// Why this executor refuses to work, if it does.
    pub problem: Option<String>,
}

pub async fn beat(
    session: &impl Session,
    instance: Uuid,
    beat: &ExecutorHeartbeat,
) -> Result<(), StorageError> {
    let latency = beat
        .rpc_latency_ms
        .map(|ms| i32::try_from(ms).unwrap_or(i32::MAX));
    let head = beat.head.map(signed).transpose()?;
    execute(
        session,
        BEAT,
        &[&instance, &beat.rpc_connected, &latency, &head, &beat.problem],
    )
    .await?;
    execute(session, SWEEP, &[]).await?;
    Ok(())
}

/// Whether another executor, heard of just now, knows a block after this one.
pub async fn another_sees_past(
    session: &impl Session,
    instance: Uuid,
    block: u64,
) -> Result<bool, StorageError> {
    let row = query_one(session, SEES_FURTHER, &[&instance, &signed(block)?]).await?;
    Ok(row.try_get("found")?)
}

/// An executor that ends takes its row along.
pub async fn leave(session: &impl Session, instance: Uuid) -> Result<(), StorageError> {
    execute(session, LEAVE, &[&instance]).await?;
    Ok(())
}
