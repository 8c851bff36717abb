//! What the executor last said about the chain.

use crate::error::StorageError;
use crate::session::{Session, query_opt};

statements! {
    LATEST = "\
select rpc_connected, rpc_latency_ms, problem, extract(epoch from clock_timestamp() - at)::float8 as age
from executor_heartbeats order by at desc limit 1";
}

/// The youngest heartbeat of any executor.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    pub rpc_connected: bool,
    pub rpc_latency_ms: Option<i32>,
    /// Why the executor refuses to work, if it does.
    pub problem: Option<String>,
    pub age_seconds: f64,
}

pub async fn latest(session: &impl Session) -> Result<Option<Heartbeat>, StorageError> {
    let Some(row) = query_opt(session, LATEST, &[]).await? else {
        return Ok(None);
    };
    Ok(Some(Heartbeat {
        rpc_connected: row.try_get("rpc_connected")?,
        rpc_latency_ms: row.try_get("rpc_latency_ms")?,
        problem: row.try_get("problem")?,
        age_seconds: row.try_get("age")?,
    }))
}
