//! What the executor last said about the chain.

use crate::error::StorageError;
use crate::session::{Session, query_opt};

statements! {
    // A healthy holder of a lease speaks for all; else any holder; else whoever spoke last.
    LATEST = "\
select b.rpc_connected, b.rpc_latency_ms, b.blocked_reason, extract(epoch from clock_timestamp() - b.reported_at)::float8 as age
from executor_heartbeats b, lateral (
    select b.reported_at > clock_timestamp() - $1::float8 * interval '1 second'
           and exists (select from signers s where s.lease_holder = b.instance
                       and s.lease_until > clock_timestamp()) as holds) as l
order by l.holds and b.blocked_reason is null desc, l.holds desc, b.reported_at desc limit 1";
}

/// What the executors say of themselves: several may run, and one that waits for the lease may refuse to work.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    pub rpc_connected: bool,
    pub rpc_latency_ms: Option<i32>,
    /// Why the executor refuses to work, if it does.
    pub problem: Option<String>,
    pub age_seconds: f64,
}

/// The heartbeat that counts; one older than `stale_seconds` counts only when there is no other.
pub async fn latest(session: &impl Session, stale_seconds: f64) -> Result<Option<Heartbeat>, StorageError> {
    let Some(row) = query_opt(session, LATEST, &[&stale_seconds]).await? else {
        return Ok(None);
    };
    Ok(Some(Heartbeat {
        rpc_connected: row.try_get("rpc_connected")?,
        rpc_latency_ms: row.try_get("rpc_latency_ms")?,
        problem: row.try_get("blocked_reason")?,
        age_seconds: row.try_get("age")?,
    }))
}
