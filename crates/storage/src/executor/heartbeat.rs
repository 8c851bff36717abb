//! What the executor last saw of the chain, for whoever must tell without asking it.

use uuid::Uuid;

use super::legs::signed;
use crate::error::StorageError;
use crate::session::{Session, execute};

statements! {
    BEAT =
        "insert into executor_heartbeats (instance, at, rpc_connected, rpc_latency_ms, head, problem) \
         values ($1, clock_timestamp(), $2, $3, $4, $5) on conflict (instance) do update set \
         at = excluded.at, rpc_connected = excluded.rpc_connected, rpc_latency_ms = excluded.rpc_latency_ms, \
         head = excluded.head, problem = excluded.problem";
    SWEEP = "delete from executor_heartbeats where at < clock_timestamp() - interval '10 minutes'";
    LEAVE = "delete from executor_heartbeats where instance = $1";
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Beat {
    pub rpc_connected: bool,
    pub rpc_latency_ms: Option<u32>,
    pub head: Option<u64>,
    /// Why this executor refuses to work, if it does.
    pub problem: Option<String>,
}

pub async fn beat(session: &impl Session, instance: Uuid, beat: &Beat) -> Result<(), StorageError> {
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

/// An executor that ends takes its row along.
pub async fn leave(session: &impl Session, instance: Uuid) -> Result<(), StorageError> {
    execute(session, LEAVE, &[&instance]).await?;
    Ok(())
}
