//! Accepts intents in batches (docs/IDEMPOTENCY.md).

use std::sync::Arc;
use std::time::Duration;

use domain::key_ring::KeyRing;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use runtime::relay::RelayNotifier;
use storage::{ConflictKind, Pool, StorageError};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::batch::{IntakeBatch, IntakeLimits};
use super::batch_queue::BatchQueue;
use super::in_flight::{InFlightKeys, KeyAccess, KeyGuard, KeyResult};
use super::submission::{IntakeResult, Submission, reused};
use super::unpaid::{UnpaidLimit, UnpaidReservation};
use crate::error::{Code, Problem};
use crate::keys::LiveKeys;
use crate::observe;

/// How long a request waits for the one that holds its key (docs/IDEMPOTENCY.md).
const MAX_WAIT: Duration = Duration::from_secs(1);
/// Maximum number of submissions of a failed batch that run one by one at the same time.
const MAX_CONCURRENT_SINGLES: usize = 4;

/// A submission that waits for its batch.
#[derive(Debug)]
pub struct PendingSubmission {
    pub submission: Submission,
    guard: KeyGuard,
    reply: oneshot::Sender<IntakeResult>,
}

impl PendingSubmission {
    fn reply(self, result: IntakeResult) {
        self.guard.complete(self.submission.answer.fingerprint, &result);
        // Fails if the client has given up.
        let _ = self.reply.send(result);
    }
}

/// The intake of intents. Workers share it.
#[derive(Debug)]
pub struct IntentIntake {
    pool: Pool,
    rules: IntakeLimits,
    keys: Arc<LiveKeys>,
    unpaid: UnpaidLimit,
    /// True while intents may be accepted.
    intake_gate: watch::Receiver<bool>,
    relay: RelayNotifier,
    queue: BatchQueue<PendingSubmission>,
    in_flight: Arc<InFlightKeys>,
}

impl IntentIntake {
    pub fn new(
        pool: Pool,
        rules: IntakeLimits,
        max_unpaid: u64,
        intake_gate: watch::Receiver<bool>,
        keys: Arc<LiveKeys>,
        relay: RelayNotifier,
    ) -> Self {
        Self {
            unpaid: UnpaidLimit::new(max_unpaid, rules.payment_seconds),
            pool,
            rules,
            intake_gate,
            keys,
            relay,
            queue: BatchQueue::default(),
            in_flight: Arc::default(),
        }
    }

    /// Waits until the submission is committed, refused, or found to be answered already.
    pub async fn submit(&self, submission: Submission) -> IntakeResult {
        let deadline = Instant::now() + MAX_WAIT;
        let fingerprint = submission.answer.fingerprint;
        let scope = (
            submission.answer.integrator.clone(),
            submission.answer.key.clone(),
        );
        loop {
            let waiting = match self.in_flight.acquire(scope.clone()) {
                KeyAccess::Acquired(guard) => return self.enqueue(submission, guard).await,
                KeyAccess::Wait(waiting) => waiting,
            };
            let Ok(finished) = tokio::time::timeout_at(deadline, waiting).await else {
                return IntakeResult::Refused(in_progress());
            };
            match finished {
                Ok(finished) if finished.fingerprint == fingerprint => return replay(finished),
                Ok(KeyResult {
                    result: IntakeResult::Stored(_) | IntakeResult::Replayed(_),
                    ..
                }) => {
                    return IntakeResult::Refused(reused());
                }
                // The holder left the key free: try to hold it.
                Ok(_) | Err(_) => {}
            }
        }
    }

    async fn enqueue(&self, submission: Submission, guard: KeyGuard) -> IntakeResult {
        let (reply, answered) = oneshot::channel();
        if self
            .queue
            .push(PendingSubmission {
                submission,
                guard,
                reply,
            })
            .is_err()
        {
            observe::queue_full("/mint-intents");
            return IntakeResult::Refused(Problem::unavailable());
        }
        answered
            .await
            .unwrap_or_else(|_| IntakeResult::Refused(Problem::unavailable()))
    }

    /// Brings the counts of unpaid intents up to date.
    pub async fn recount_unpaid(&self, pool: &Pool) -> Result<(), StorageError> {
        self.unpaid.recount_due(pool).await
    }

    /// Runs one worker: processes batches until the queue is closed and empty.
    pub async fn run_worker(self: Arc<Self>, closed: CancellationToken) {
        while let Some(entries) = self.queue.next_batch(&closed).await {
            let started = Instant::now();
            let size = entries.len();
            self.commit(entries).await;
            observe::batch_committed("/mint-intents", size, started.elapsed());
        }
    }

    async fn commit(&self, mut entries: Vec<PendingSubmission>) {
        entries.sort_unstable_by(|a, b| a.submission.scope().cmp(&b.submission.scope()));
        let (entries, duplicates) = split_duplicates(entries);
        let submissions: Vec<&Submission> = entries.iter().map(|entry| &entry.submission).collect();
        match self.attempt(&submissions).await {
            Ok(results) => reply_all(entries, results),
            Err(error) if can_retry_one_by_one(&error) && entries.len() > 1 => {
                observe::batch_split("/mint-intents", &error);
                self.one_by_one(entries).await;
            }
            Err(error) => {
                observe::batch_failed("/mint-intents", &error);
                let problem = Problem::from(&error);
                let results = entries
                    .iter()
                    .map(|_| IntakeResult::Refused(problem.clone()))
                    .collect();
                reply_all(entries, results);
            }
        }
        if !duplicates.is_empty() {
            self.one_by_one(duplicates).await;
        }
    }

    /// Runs each submission in its own transaction, a few at a time, in the given order.
    async fn one_by_one(&self, entries: Vec<PendingSubmission>) {
        let mut waiting = entries.into_iter();
        let mut running = FuturesUnordered::new();
        running.extend(
            waiting
                .by_ref()
                .take(MAX_CONCURRENT_SINGLES)
                .map(|entry| self.process_one(entry)),
        );
        while running.next().await.is_some() {
            running.extend(waiting.next().map(|entry| self.process_one(entry)));
        }
    }

    /// Runs one submission alone. It can only conflict with other gateways (for example on its user's daily total), so it
    /// is retried for a while.
    async fn process_one(&self, entry: PendingSubmission) {
        let deadline = Instant::now() + MAX_WAIT;
        let result = loop {
            match self.attempt(&[&entry.submission]).await {
                Ok(mut results) => {
                    break results
                        .pop()
                        .unwrap_or_else(|| IntakeResult::Refused(Problem::internal()));
                }
                Err(StorageError::Conflict(_)) if Instant::now() < deadline => {}
                Err(error) => {
                    observe::batch_failed("/mint-intents", &error);
                    break IntakeResult::Refused(Problem::from(&error));
                }
            }
        };
        entry.reply(result);
    }

    /// Runs one transaction for all submissions; returns their results in order.
    async fn attempt(&self, submissions: &[&Submission]) -> Result<Vec<IntakeResult>, StorageError> {
        let snapshot = self.keys.snapshot();
        let answers: &KeyRing = &snapshot.answers;
        let mut client = self.pool.get().await?;
        let tx = client.begin().await?;
        let mut batch = IntakeBatch::claim(&tx, submissions, &self.rules).await?;
        batch.answer_claimed(&tx, answers).await?;
        if !*self.intake_gate.borrow() {
            batch.halt();
        }
        let mut reservation = UnpaidReservation::of(&self.unpaid);
        batch.limit_unpaid(&mut reservation);
        batch.charge_daily_limit(&tx, &self.rules, answers).await?;
        batch.insert(&tx, answers).await?;
        batch.release_keys(&tx).await?;
        tx.commit().await?;
        let accepted = batch.accepted();
        if !accepted.is_empty() {
            self.relay.notify();
        }
        for (integrator, count) in accepted {
            reservation.commit(integrator, count);
        }
        let results = batch.into_results();
        for result in &results {
            if let IntakeResult::Stored(answer) | IntakeResult::Replayed(answer) = result {
                self.keys.record_answer_key_use(&answer.mac_key_id);
            }
        }
        Ok(results)
    }
}

/// Separates submissions whose txRef occurs earlier in the batch: two of them cannot share a statement, so the second one
/// runs after the batch.
fn split_duplicates(entries: Vec<PendingSubmission>) -> (Vec<PendingSubmission>, Vec<PendingSubmission>) {
    let mut seen = std::collections::HashSet::with_capacity(entries.len());
    entries.into_iter().partition(|entry| {
        let sealed = entry.submission.intent.as_ref();
        sealed.is_none_or(|c| seen.insert(c.intent.preimage.tx_ref.clone()))
    })
}

fn reply_all(entries: Vec<PendingSubmission>, results: Vec<IntakeResult>) {
    for (entry, result) in entries.into_iter().zip(results) {
        entry.reply(result);
    }
}

/// Whether the transaction certainly did nothing and only one submission may have caused the error.
fn can_retry_one_by_one(error: &StorageError) -> bool {
    match error {
        StorageError::Conflict(contention) => !matches!(contention, ConflictKind::Stale(_)),
        StorageError::Corrupt { .. } | StorageError::Bug { .. } => true,
        StorageError::Unavailable { .. } | StorageError::CommitUnknown { .. } => false,
    }
}

/// The result for a request that waited for an identical one.
fn replay(finished: KeyResult) -> IntakeResult {
    match finished.result {
        IntakeResult::Stored(answer) | IntakeResult::Replayed(answer) => IntakeResult::Replayed(answer),
        refused @ IntakeResult::Refused(_) => refused,
    }
}

fn in_progress() -> Problem {
    Problem::new(
        Code::RequestInProgress,
        "Wait a second and send the same request again.",
    )
}
