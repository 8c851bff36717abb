//! The latest heartbeat of the executors.

use const_format::concatcp;

use crate::error::StorageError;
use crate::session::{DbSession, query_opt};

/// Who speaks for all comes first: a healthy holder of a lease, else any holder.
const HOLDERS_FIRST: &str = "l.holds and b.blocked_reason is null desc, l.holds desc";

statements! {
    // Prefers a healthy lease holder, then any lease holder, then the most recent heartbeat.
    LATEST = concatcp!("\
select b.rpc_connected, b.rpc_latency_ms, b.blocked_reason, extract(epoch from clock_timestamp() - b.reported_at)::float8 as age
from published.executors b, lateral (
    select b.holds_lease and b.reported_at > clock_timestamp() - $1::float8 * interval '1 second' as holds) as l
order by ", HOLDERS_FIRST, ", b.reported_at desc limit 1");
}

/// One executor's report on itself. Several may run, and one that waits for the lease may refuse to work.
#[derive(Clone, Debug, PartialEq)]
pub struct HeartbeatRow {
    pub rpc_connected: bool,
    pub rpc_latency_ms: Option<i32>,
    /// Why the executor refuses to work, if it does.
    pub blocked_reason: Option<String>,
    pub age_seconds: f64,
}

/// The heartbeat that decides; one older than `stale_seconds` does so only if there is no other.
pub async fn latest(
    session: &impl DbSession,
    stale_seconds: f64,
) -> Result<Option<HeartbeatRow>, StorageError> {
    let Some(row) = query_opt(session, LATEST, &[&stale_seconds]).await? else {
        return Ok(None);
    };
    Ok(Some(HeartbeatRow {
        rpc_connected: row.try_get("rpc_connected")?,
        rpc_latency_ms: row.try_get("rpc_latency_ms")?,
        blocked_reason: row.try_get("blocked_reason")?,
        age_seconds: row.try_get("age")?,
    }))
}
