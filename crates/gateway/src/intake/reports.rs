//! Accepts M-Pesa reports in batches; a report is answered only once it is durable.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use messaging::SealedMessage;
use runtime::relay::RelayNotifier;
use storage::gateway::reports::{self, NewReport};
use storage::outbox::OutboxRow;
use storage::{Outbox, Pool, StorageError};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::batch_queue::BatchQueue;
use crate::observe;

/// Maximum number of reports of a failed batch that run one by one at the same time.
const MAX_CONCURRENT_SINGLES: usize = 4;

/// Whether a report is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreResult {
    /// The report is stored now.
    Stored,
    /// The same content was stored before.
    AlreadyStored,
    /// It is not known whether the report is stored.
    Unknown,
}

/// An authentic, well-formed report and the sealed message that follows from it.
#[derive(Debug)]
pub struct IncomingReport {
    pub report: NewReport,
    pub message: SealedMessage,
    /// After this time nobody waits for the answer.
    pub deadline: Instant,
}

#[derive(Debug)]
struct PendingReport {
    report: IncomingReport,
    reply: oneshot::Sender<StoreResult>,
}

impl PendingReport {
    fn reply(self, result: StoreResult) {
        // Fails if the request has given up; it was answered 503 and will be sent again.
        let _ = self.reply.send(result);
    }
}

/// The intake of reports. Workers share it.
#[derive(Debug)]
pub struct ReportIntake {
    pool: Pool,
    relay: RelayNotifier,
    queue: BatchQueue<PendingReport>,
}

impl ReportIntake {
    pub fn new(pool: Pool, relay: RelayNotifier) -> Self {
        Self {
            pool,
            relay,
            queue: BatchQueue::default(),
        }
    }

    /// Waits until the report is durable, or its deadline has passed.
    pub async fn submit(&self, report: IncomingReport) -> StoreResult {
        let deadline = report.deadline;
        let (reply, result) = oneshot::channel();
        if self.queue.push(PendingReport { report, reply }).is_err() {
            observe::queue_full("/callbacks/mpesa");
            return StoreResult::Unknown;
        }
        match tokio::time::timeout_at(deadline, result).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => StoreResult::Unknown,
        }
    }

    /// Runs one worker: processes batches until the queue is closed and empty.
    pub async fn run_worker(self: Arc<Self>, closed: CancellationToken) {
        while let Some(entries) = self.queue.next_batch(&closed).await {
            let started = Instant::now();
            let size = entries.len();
            self.commit(entries).await;
            observe::batch_committed("/callbacks/mpesa", size, started.elapsed());
        }
    }

    async fn commit(&self, mut entries: Vec<PendingReport>) {
        entries.sort_unstable_by_key(|entry| entry.report.report.content_hash);
        let reports: Vec<&IncomingReport> = entries.iter().map(|entry| &entry.report).collect();
        match self.attempt(&reports).await {
            Ok(result) => {
                for (entry, result) in entries.into_iter().zip(result) {
                    entry.reply(result);
                }
            }
            // The same report ids may run again only after a transaction that certainly did nothing.
            Err(StorageError::CommitUnknown { .. }) => {
                for entry in entries {
                    entry.reply(StoreResult::Unknown);
                }
            }
            Err(error) => {
                observe::batch_split("/callbacks/mpesa", &error);
                self.one_by_one(entries).await;
            }
        }
    }

    async fn one_by_one(&self, entries: Vec<PendingReport>) {
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

    /// Runs one report alone. A lock of another gateway is short, so it is retried until the deadline.
    async fn process_one(&self, entry: PendingReport) {
        loop {
            match self.attempt(&[&entry.report]).await {
                Ok(result) => return entry.reply(result.first().copied().unwrap_or(StoreResult::Unknown)),
                Err(StorageError::Conflict(_)) if Instant::now() < entry.report.deadline => {}
                Err(error) => {
                    observe::batch_failed("/callbacks/mpesa", &error);
                    return entry.reply(StoreResult::Unknown);
                }
            }
        }
    }

    async fn attempt(&self, reports: &[&IncomingReport]) -> Result<Vec<StoreResult>, StorageError> {
        let mut client = self.pool.get().await?;
        let tx = client.begin().await?;
        let rows: Vec<&NewReport> = reports.iter().map(|report| &report.report).collect();
        let stored: HashSet<_> = reports::insert_batch(&tx, &rows).await?.into_iter().collect();
        let is_new = |report: &&&IncomingReport| stored.contains(&report.report.signed.report_id);
        let messages: Vec<OutboxRow> = reports
            .iter()
            .filter(is_new)
            .map(|report| outbox_row(report))
            .collect();
        Outbox::Gateway.push_many(&tx, &messages).await?;
        tx.commit().await?;
        if !messages.is_empty() {
            self.relay.notify();
        }
        let result = |report: &&IncomingReport| {
            if is_new(&report) {
                StoreResult::Stored
            } else {
                StoreResult::AlreadyStored
            }
        };
        Ok(reports.iter().map(result).collect())
    }
}

fn outbox_row(report: &IncomingReport) -> OutboxRow {
    OutboxRow {
        message_id: report.message.message_id,
        queue: report.message.queue.name(),
        subject: report.report.parsed.tx_ref.as_str().to_owned(),
        envelope: report.message.bytes.clone(),
    }
}
