//! The executor's last heartbeat, kept in memory, so that health requests cost no query.

use std::time::Duration;

use runtime::Stop;
use storage::Pool;
use storage::gateway::heartbeat::{self, HeartbeatRow};
use tokio::sync::watch;
use tokio::time::Instant;

const POLL: Duration = Duration::from_secs(2);
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

impl HeartbeatWatch {
    /// Reads the heartbeat periodically, until the stop. If it cannot be read, the last one grows stale.
    pub fn follow(pool: Pool, stop: Stop) -> (Self, impl Future<Output = ()>) {
        let (sender, receiver) = watch::channel(None);
        let reading = async move {
            loop {
                match read(&pool).await {
                    Ok(Some(heartbeat)) => {
                        let at = Instant::now();
                        sender.send_replace(Some(HeartbeatReading { heartbeat, at }));
                    }
                    Ok(None) => {}
                    Err(error) => tracing::debug!(error = %domain::error_chain(&error), "heartbeat unknown"),
                }
                if !stop.sleep(POLL).await {
                    return;
                }
            }
        };
        (Self(receiver), reading)
    }

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

async fn read(pool: &Pool) -> Result<Option<HeartbeatRow>, storage::StorageError> {
    heartbeat::latest(&pool.get().await?, STALE_SECONDS).await
}
