//! The outbox relay: claim rows, publish them mandatory and confirmed, delete what was confirmed. A row leaves the
//! outbox only after the broker's positive confirm, so a message may come twice, never not at all.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use messaging::{Outgoing, PublishError, Publisher, WorkQueue};
use storage::outbox::ClaimedRow;
use storage::{Outbox, Pool, StorageError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::Span;

use crate::lifecycle::Stop;
use crate::{chain, observe, telemetry};

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

/// What one claim came to, when the broker was there.
#[derive(Debug, Default)]
struct Round {
    /// There may be more.
    full: bool,
    /// Queues that refused something, and why.
    refusing: HashMap<WorkQueue, PublishError>,
    /// Queues that took something.
    taking: HashSet<WorkQueue>,
}

/// Queues that are left alone for a while: a full one must not hold up the others.
#[derive(Debug, Default)]
struct Rests(HashMap<WorkQueue, Rest>);

#[derive(Debug)]
struct Rest {
    failures: u32,
    until: Instant,
}

impl Rests {
    fn resting(&self, now: Instant) -> Vec<&'static str> {
        let resting = self.0.iter().filter(|(_, rest)| rest.until > now);
        resting.map(|(queue, _)| queue.name()).collect()
    }

    fn note(&mut self, round: &Round, now: Instant) {
        for queue in &round.taking {
            self.0.remove(queue);
        }
        for queue in round.refusing.keys() {
            let failures = self
                .0
                .get(queue)
                .map_or(0, |rest| rest.failures.saturating_add(1));
            let until = now + wait_after(failures);
            self.0.insert(*queue, Rest { failures, until });
        }
    }
}

/// Twice as long each time.
fn wait_after(failures: u32) -> Duration {
    FIRST_WAIT.saturating_mul(1 << failures.min(8)).min(LONGEST_WAIT)
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
        let mut rests = Rests::default();
        while !stop.is_requested() {
            let wait = match self.relay_once(&rests.resting(Instant::now())).await {
                Ok(round) => {
                    failures = 0;
                    rests.note(&round, Instant::now());
                    if round.full { Duration::ZERO } else { POLL }
                }
                Err(error) => {
                    tracing::warn!(outbox = self.outbox.name(), error = %chain(&error), "relaying interrupted");
                    let wait = wait_after(failures);
                    failures = failures.saturating_add(1);
                    wait
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
        if let Err(error) = self.relay_once(&[]).await {
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
                    observe::OUTBOX_AGE.set([name], backlog.oldest_seconds);
                    observe::OUTBOX_ROWS.set([name], rows);
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

    /// One claim.
    async fn relay_once(&self, except: &[&str]) -> Result<Round, RelayError> {
        let client = self.pool.get().await?;
        let rows = self.outbox.claim(&client, BATCH, HOLD, except).await?;
        drop(client);
        let all = rows.len();
        let mut round = Round {
            full: all >= BATCH as usize,
            ..Round::default()
        };
        if rows.is_empty() {
            return Ok(round);
        }
        let (rows, messages): (Vec<Sending>, Vec<Outgoing>) = rows.into_iter().filter_map(outgoing).unzip();
        // No connection is held while the broker is waited for.
        let results = self.publisher.publish_many(messages).await;
        let (mut confirmed, mut failed, mut interrupted) = (Vec::new(), Vec::new(), None);
        for (Sending { id, queue, span }, result) in rows.into_iter().zip(results) {
            if let Err(error) = &result {
                span.record("error", error.kind());
            }
            match result {
                Ok(()) => {
                    confirmed.push(id);
                    round.taking.insert(queue);
                    continue;
                }
                Err(error) if error.is_of_queue() => {
                    round.refusing.insert(queue, error);
                }
                Err(error) => {
                    interrupted.get_or_insert(error);
                }
            }
            failed.push(id);
        }
        let client = self.pool.get().await?;
        self.outbox.delete_many(&client, &confirmed).await?;
        self.outbox.release_many(&client, &failed).await?;
        self.count("ok", confirmed.len());
        self.count("failed", failed.len());
        for (queue, error) in &round.refusing {
            tracing::warn!(outbox = self.outbox.name(), queue = queue.name(), error = %chain(error), "queue refuses");
        }
        match interrupted {
            None => Ok(round),
            Some(first) => Err(RelayError::Publish {
                failed: failed.len(),
                all,
                first,
            }),
        }
    }

    fn count(&self, result: &'static str, rows: usize) {
        observe::OUTBOX_RELAYED.add(
            [self.outbox.name(), result],
            u64::try_from(rows).unwrap_or_default(),
        );
    }
}

/// A claimed row while the broker has its message.
struct Sending {
    id: i64,
    queue: WorkQueue,
    span: Span,
}

/// A row for a queue nobody knows stays where it is, claimed: it needs a person.
fn outgoing(row: ClaimedRow) -> Option<(Sending, Outgoing)> {
    match row.queue.parse::<WorkQueue>() {
        Ok(queue) => {
            let span = publishing(queue, &row);
            let sending = Sending {
                id: row.id,
                queue,
                span,
            };
            Some((sending, Outgoing::work(queue, row.message_id, row.envelope)))
        }
        Err(error) => {
            tracing::error!(id = row.id, %error, "outbox row for an unknown queue");
            None
        }
    }
}

/// From the claim to the broker's confirm, in the trace of whatever made the message.
fn publishing(queue: WorkQueue, row: &ClaimedRow) -> Span {
    if !telemetry::exports() {
        return Span::none();
    }
    let span = tracing::info_span!(
        "relay.publish",
        otel.kind = "producer",
        queue = queue.name(),
        message_id = %row.message_id,
        error = tracing::field::Empty,
        trace_id = tracing::field::Empty,
    );
    telemetry::continue_trace(&span, messaging::envelope::traceparent(&row.envelope).as_deref());
    span
}
