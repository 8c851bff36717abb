//! The outbox relay claims rows, publishes them mandatory and confirmed, and deletes the confirmed ones. A row leaves the
//! outbox only after the broker's positive confirm, so a message may be sent twice but is never lost.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use domain::backoff::Backoff;
use messaging::{Outgoing, PublishError, Publisher, WorkQueue};
use storage::outbox::ClaimedRow;
use storage::{Outbox, Pool, StorageError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::Span;

use crate::stop::Stop;
use crate::{observe, telemetry};

const BATCH: u32 = 256;
/// How long a claim lasts; after that, another relay may claim the rows. Longer than publishing a batch can take.
const CLAIM_DURATION: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(500);
/// After a failure, of a queue or of everything.
const WAITS: Backoff = Backoff {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(5),
};

/// Wakes the relay after a commit that pushed rows. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct RelayNotifier(Arc<Notify>);

impl RelayNotifier {
    pub fn notify(&self) {
        self.0.notify_one();
    }
}

/// Relays one outbox. Several relays may run concurrently.
#[derive(Clone, Debug)]
pub struct Relay {
    outbox: Outbox,
    pool: Pool,
    publisher: Publisher,
    notifier: RelayNotifier,
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

/// The result of one claim, if the broker was reachable.
#[derive(Debug, Default)]
struct RelayPass {
    /// True if there may be more rows.
    full: bool,
    /// Queues that refused a message, and the last error.
    refused_queues: HashMap<WorkQueue, PublishError>,
    /// Queues that accepted a message.
    accepting_queues: HashSet<WorkQueue>,
}

/// Queues that are skipped for a while, so that a full queue does not block the others.
#[derive(Debug, Default)]
struct QueueBackoffs(HashMap<WorkQueue, QueueBackoff>);

#[derive(Debug)]
struct QueueBackoff {
    failures: u32,
    until: Instant,
}

impl QueueBackoffs {
    fn paused_queues(&self, now: Instant) -> Vec<&'static str> {
        let paused = self.0.iter().filter(|(_, rest)| rest.until > now);
        paused.map(|(queue, _)| queue.name()).collect()
    }

    fn record(&mut self, round: &RelayPass, now: Instant) {
        for queue in &round.accepting_queues {
            self.0.remove(queue);
        }
        for queue in round.refused_queues.keys() {
            let failures = self
                .0
                .get(queue)
                .map_or(0, |rest| rest.failures.saturating_add(1));
            let until = now + WAITS.wait(failures);
            self.0.insert(*queue, QueueBackoff { failures, until });
        }
    }
}

impl Relay {
    pub fn new(outbox: Outbox, pool: Pool, publisher: Publisher) -> Self {
        Self {
            outbox,
            pool,
            publisher,
            notifier: RelayNotifier::default(),
        }
    }

    pub fn notifier(&self) -> RelayNotifier {
        self.notifier.clone()
    }

    /// Relays until the stop, then once more.
    pub async fn run(self, stop: Stop) {
        let mut failures = 0_u32;
        let mut rests = QueueBackoffs::default();
        while !stop.is_requested() {
            let wait = match self.relay_once(&rests.paused_queues(Instant::now())).await {
                Ok(round) => {
                    failures = 0;
                    rests.record(&round, Instant::now());
                    if round.full { Duration::ZERO } else { POLL }
                }
                Err(error) => {
                    tracing::warn!(outbox = self.outbox.name(), error = %domain::error_chain(&error), "relaying interrupted");
                    let wait = WAITS.wait(failures);
                    failures = failures.saturating_add(1);
                    wait
                }
            };
            if wait.is_zero() {
                continue;
            }
            tokio::select! {
                _ = stop.sleep(wait) => {}
                // After a failure a new row must not cut the wait short.
                () = self.notifier.0.notified(), if failures == 0 => {}
            }
        }
        if let Err(error) = self.relay_once(&[]).await {
            tracing::warn!(outbox = self.outbox.name(), error = %domain::error_chain(&error), "the rest waits in the outbox");
        }
    }

    /// Updates the gauges of the backlog's age and size.
    pub async fn observe(&self) -> Result<(), StorageError> {
        let (name, backlog) = (self.outbox.name(), self.backlog().await?);
        observe::OUTBOX_AGE.set([name], backlog.oldest_seconds);
        observe::OUTBOX_ROWS.set([name], meter::number(backlog.rows));
        Ok(())
    }

    async fn backlog(&self) -> Result<storage::outbox::Backlog, StorageError> {
        self.outbox.backlog(&self.pool.get().await?).await
    }

    /// Claims and publishes one batch, except for the queues in `except`.
    async fn relay_once(&self, except: &[&str]) -> Result<RelayPass, RelayError> {
        let client = self.pool.get().await?;
        let rows = self.outbox.claim(&client, BATCH, CLAIM_DURATION, except).await?;
        drop(client);
        let all = rows.len();
        let mut round = RelayPass {
            full: all >= BATCH as usize,
            ..RelayPass::default()
        };
        if rows.is_empty() {
            return Ok(round);
        }
        let (rows, messages): (Vec<PendingPublish>, Vec<Outgoing>) =
            rows.into_iter().filter_map(outgoing).unzip();
        // No database connection is held while waiting for the broker.
        let results = self.publisher.publish_many(messages).await;
        let (mut confirmed, mut failed, mut interrupted) = (Vec::new(), Vec::new(), None);
        for (PendingPublish { id, queue, span }, result) in rows.into_iter().zip(results) {
            if let Err(error) = &result {
                span.record("error", error.kind());
            }
            match result {
                Ok(()) => {
                    confirmed.push(id);
                    round.accepting_queues.insert(queue);
                    continue;
                }
                Err(error) if error.is_queue_specific() => {
                    round.refused_queues.insert(queue, error);
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
        for (queue, error) in &round.refused_queues {
            tracing::warn!(outbox = self.outbox.name(), queue = queue.name(), error = %domain::error_chain(error), "queue refuses messages");
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

/// A claimed row whose message is being published.
struct PendingPublish {
    id: i64,
    queue: WorkQueue,
    span: Span,
}

/// Builds the message of a row. A row for an unknown queue stays claimed in the outbox and needs a person.
fn outgoing(row: ClaimedRow) -> Option<(PendingPublish, Outgoing)> {
    match row.queue.parse::<WorkQueue>() {
        Ok(queue) => {
            let span = publish_span(queue, &row);
            let sending = PendingPublish {
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

/// The span from the claim to the broker's confirm, in the trace of the work that created the message.
fn publish_span(queue: WorkQueue, row: &ClaimedRow) -> Span {
    if !telemetry::exports_spans() {
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
