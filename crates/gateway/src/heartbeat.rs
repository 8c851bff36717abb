//! The executor's last heartbeat, kept in memory, so that health requests cost no query.

use runtime::Periodic;
use storage::gateway::heartbeat::{self, HeartbeatRow};
use storage::{Pool, StorageError};
use tokio::sync::watch;
use tokio::time::Instant;

/// A heartbeat older than this is ignored.
const STALE_SECONDS: f64 = 15.0;

#[derive(Debug)]
struct HeartbeatReading {
    heartbeat: HeartbeatRow,
    at: Instant,
}

/// The latest heartbeat of the executor.
#[derive(Clone, Debug)]
pub struct HeartbeatWatch(watch::Receiver<Option<HeartbeatReading>>);

/// Reads the heartbeat. If it cannot be read, the last one grows stale.
#[derive(Debug)]
pub struct HeartbeatReader {
    pool: Pool,
    latest: watch::Sender<Option<HeartbeatReading>>,
}

impl HeartbeatReader {
    pub fn new(pool: Pool) -> Self {
        let latest = watch::Sender::new(None);
        Self { pool, latest }
    }

    pub fn watch(&self) -> HeartbeatWatch {
        HeartbeatWatch(self.latest.subscribe())
    }
}

impl Periodic for HeartbeatReader {
    type Error = StorageError;

    async fn run(&mut self) -> Result<(), StorageError> {
        if let Some(heartbeat) = heartbeat::latest(&self.pool.get().await?, STALE_SECONDS).await? {
            let at = Instant::now();
            self.latest.send_replace(Some(HeartbeatReading { heartbeat, at }));
        }
        Ok(())
    }
}

impl HeartbeatWatch {
    /// Returns the heartbeat unless it is stale.
    pub fn fresh(&self) -> Option<HeartbeatRow> {
        let read = self.0.borrow();
        let HeartbeatReading { heartbeat, at } = read.as_ref()?;
        let age = heartbeat.age_seconds + at.elapsed().as_secs_f64();
        (age < STALE_SECONDS).then(|| heartbeat.clone())
    }

    /// Fails if the executor reports a problem: then the gateway is unready, because new intents could not be processed.
    pub fn check(&self) -> Result<(), String> {
        match self.fresh().and_then(|heartbeat| heartbeat.blocked_reason) {
            Some(problem) => Err(format!("the executor refuses to work: {problem}")),
            None => Ok(()),
        }
    }
}
