//! The outbox relay: claim rows, publish them mandatory and confirmed, delete what was confirmed. A row leaves the
//! outbox only after the broker's positive confirm, so a message may come twice, never not at all.

use std::sync::Arc;
use std::time::Duration;

use messaging::{Outgoing, PublishError, Publisher, WorkQueue};
use metrics::{counter, gauge};
use storage::outbox::ClaimedRow;
use storage::{Outbox, Pool, StorageError};
use tokio::sync::Notify;

use crate::chain;
use crate::lifecycle::Stop;

const BATCH: u32 = 256;
/// Longer than a publish of one batch can take; after it another relay may take the rows.
const HOLD: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(500);
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Wakes the relay: call it after a commit that pushed rows. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Wake(Arc<Notify>);

impl Wake {
    pub fn now(&self) {
        self.0.notify_one();
    }
}

/// Relays one outbox; several may run beside each other.
#[derive(Clone, Debug)]
pub struct Relay {
    outbox: Outbox,
    pool: Pool,
    publisher: Publisher,
    wake: Wake,
}

#[derive(Debug, thiserror::Error)]
enum RelayError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("{failed} of {all} messages were not published")]
    Publish {
        failed: usize,
        all: usize,
        #[source]
        first: PublishError,
    },
}

impl Relay {
    pub fn new(outbox: Outbox, pool: Pool, publisher: Publisher) -> Self {
        Self {
            outbox,
            pool,
            publisher,
            wake: Wake::default(),
        }
    }

    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// Relays until the stop, then once more what is there.
    pub async fn run(self, stop: Stop) {
        let mut failures = 0_u32;
        while !stop.is_requested() {
            let wait = match self.relay_once().await {
                Ok(full) => {
                    failures = 0;
                    if full { Duration::ZERO } else { POLL }
                }
                Err(error) => {
                    tracing::warn!(outbox = self.outbox.name(), error = %chain(&error), "relaying interrupted");
                    let factor = 1_u32 << failures.min(8);
                    failures = failures.saturating_add(1);
                    FIRST_WAIT.saturating_mul(factor).min(LONGEST_WAIT)
                }
            };
            if wait.is_zero() {
                continue;
            }
            tokio::select! {
                () = stop.requested() => {}
                () = tokio::time::sleep(wait) => {}
                // After a failure only time helps.
                () = self.wake.0.notified(), if failures == 0 => {}
            }
        }
        if let Err(error) = self.relay_once().await {
            tracing::warn!(outbox = self.outbox.name(), error = %chain(&error), "the rest waits in the outbox");
        }
    }

    /// Shows age and size of the backlog, until the stop.
    pub async fn observe(self, stop: Stop) {
        let name = self.outbox.name();
        loop {
            match self.backlog().await {
                Ok(backlog) => {
                    let rows = f64::from(u32::try_from(backlog.rows).unwrap_or(u32::MAX));
                    gauge!("fiatrails_outbox_age_seconds", "outbox" => name).set(backlog.oldest_seconds);
                    gauge!("fiatrails_outbox_rows", "outbox" => name).set(rows);
                }
                Err(error) => tracing::debug!(outbox = name, error = %chain(&error), "backlog unknown"),
            }
            if !stop.sleep(Duration::from_secs(2)).await {
                return;
            }
        }
    }

    async fn backlog(&self) -> Result<storage::outbox::Backlog, StorageError> {
        self.outbox.backlog(&self.pool.get().await?).await
    }

    /// One claim; true when there may be more.
    async fn relay_once(&self) -> Result<bool, RelayError> {
        let rows = self.outbox.claim(&self.pool.get().await?, BATCH, HOLD).await?;
        if rows.is_empty() {
            return Ok(false);
        }
        let all = rows.len();
        let (ids, messages): (Vec<i64>, Vec<Outgoing>) = rows.into_iter().filter_map(outgoing).unzip();
        // No connection is held while the broker is waited for.
        let results = self.publisher.publish_many(messages).await;
        let (mut confirmed, mut failed, mut first) = (Vec::new(), Vec::new(), None);
        for (id, result) in ids.into_iter().zip(results) {
            match result {
                Ok(()) => confirmed.push(id),
                Err(error) => {
                    failed.push(id);
                    first.get_or_insert(error);
                }
            }
        }
        let client = self.pool.get().await?;
        self.outbox.delete_many(&client, &confirmed).await?;
        self.outbox.release_many(&client, &failed).await?;
        let name = self.outbox.name();
        counter!("fiatrails_outbox_relayed_total", "outbox" => name, "result" => "ok")
            .increment(u64::try_from(confirmed.len()).unwrap_or_default());
        counter!("fiatrails_outbox_relayed_total", "outbox" => name, "result" => "failed")
            .increment(u64::try_from(failed.len()).unwrap_or_default());
        match first {
            None => Ok(all >= BATCH as usize),
            Some(first) => Err(RelayError::Publish {
                failed: failed.len(),
                all,
                first,
            }),
        }
    }
}

/// A row for a queue nobody knows stays where it is, claimed: it needs a person.
fn outgoing(row: ClaimedRow) -> Option<(i64, Outgoing)> {
    match row.queue.parse::<WorkQueue>() {
        Ok(queue) => Some((row.id, Outgoing::work(queue, row.message_id, row.envelope))),
        Err(error) => {
            tracing::error!(id = row.id, %error, "outbox row for an unknown queue");
            None
        }
    }
}
