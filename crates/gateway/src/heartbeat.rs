//! What the executor last said, kept in memory: nobody who asks for our health costs a query.

use std::time::Duration;

use runtime::Stop;
use storage::Pool;
use storage::gateway::heartbeat::{self, HeartbeatRow};
use tokio::sync::watch;
use tokio::time::Instant;

const POLL: Duration = Duration::from_secs(2);
/// A heartbeat older than this says nothing.
const STALE_SECONDS: f64 = 15.0;

#[derive(Debug)]
struct Read {
    beat: HeartbeatRow,
    at: Instant,
}

/// The youngest heartbeat that was read.
#[derive(Clone, Debug)]
pub struct LastBeat(watch::Receiver<Option<Read>>);

impl LastBeat {
    /// Reads on until the stop; what cannot be read grows old.
    pub fn follow(pool: Pool, stop: Stop) -> (Self, impl Future<Output = ()>) {
        let (tell, told) = watch::channel(None);
        let reading = async move {
            loop {
                match read(&pool).await {
                    Ok(Some(beat)) => {
                        let at = Instant::now();
                        tell.send_replace(Some(Read { beat, at }));
                    }
                    Ok(None) => {}
                    Err(error) => tracing::debug!(error = %runtime::chain(&error), "heartbeat unknown"),
                }
                if !stop.sleep(POLL).await {
                    return;
                }
            }
        };
        (Self(told), reading)
    }

    /// The heartbeat, while it still says something.
    pub fn fresh(&self) -> Option<HeartbeatRow> {
        let read = self.0.borrow();
        let Read { beat, at } = read.as_ref()?;
        let age = beat.age_seconds + at.elapsed().as_secs_f64();
        (age < STALE_SECONDS).then(|| beat.clone())
    }

    /// An executor that refuses to work makes the gateway unready: what we would accept could not be served.
    pub fn check(&self) -> Result<(), String> {
        match self.fresh().and_then(|beat| beat.blocked_reason) {
            Some(problem) => Err(format!("the executor refuses to work: {problem}")),
            None => Ok(()),
        }
    }
}

async fn read(pool: &Pool) -> Result<Option<HeartbeatRow>, storage::StorageError> {
    heartbeat::latest(&pool.get().await?, STALE_SECONDS).await
}
