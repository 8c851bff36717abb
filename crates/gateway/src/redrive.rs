//! Re-sends messages, so that purging a queue loses nothing: if an intent or report has no effect within `redriveSeconds`,
//! its message is sealed and sent again, however old it is. After its payment window an intent is not deposited: the
//! executor drops it, and its payer is owed.
//!
//! Only genuine rows are sent: an intent's MAC and id and a report's M-Pesa MAC are verified first.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use domain::clock::{Clock, IdSource};
use domain::evidence::EvidenceError;
use messaging::wire::{Body, MintSubmit};
use messaging::{MessageMetadata, SealError, Sealer, WorkQueue};
use parking_lot::Mutex;
use runtime::relay::RelayNotifier;
use runtime::{KeyDirectory, Periodic};
use storage::gateway::intents::{self, MintIntent};
use storage::gateway::redrive::{RedriveWindow, record};
use storage::gateway::reports::{self, StoredReport};
use storage::outbox::OutboxRow;
use storage::{Outbox, Pool, StorageError};
use time::OffsetDateTime;

use crate::answers;
use crate::observe;
use crate::routes::mpesa::result_message;

/// Rows per statement. Small, because a connection keeps the memory of its largest statement.
const PAGE: i64 = 64;
/// Maximum number of pages of intents, and of reports, in one pass.
const MAX_PAGES: u32 = 8;

/// The re-drive: its dependencies, and how far it has come.
pub struct Redrive {
    pub pool: Pool,
    pub keys: KeyDirectory,
    pub sealer: Sealer,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    pub relay: RelayNotifier,
    pub after_seconds: u32,
    /// Tampered rows that were already reported: one alarm each, not one per pass.
    pub reported: Mutex<HashSet<String>>,
    pub progress: RedriveProgress,
}

#[derive(Debug, thiserror::Error)]
pub enum RedriveError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Seal(#[from] SealError),
}

#[derive(PartialEq, Eq)]
enum PageFill {
    Full,
    Last,
}

impl PageFill {
    fn of(rows: usize) -> Self {
        if i64::try_from(rows).is_ok_and(|rows| rows < PAGE) {
            Self::Last
        } else {
            Self::Full
        }
    }
}

#[derive(Clone, Copy)]
enum RedriveTarget {
    Intents,
    Reports,
}

/// Every row older than these times has had an effect or has a re-drive mark.
#[derive(Clone, Copy)]
pub struct RedriveProgress {
    intents: OffsetDateTime,
    reports: OffsetDateTime,
}

impl Default for RedriveProgress {
    fn default() -> Self {
        Self {
            intents: OffsetDateTime::UNIX_EPOCH,
            reports: OffsetDateTime::UNIX_EPOCH,
        }
    }
}

impl Periodic for Redrive {
    type Error = RedriveError;

    async fn run(&mut self) -> Result<(), RedriveError> {
        let window = self.window(self.progress.intents);
        self.progress.intents = intents::oldest_unsettled(&self.pool.get().await?, &window).await?;
        self.pages(RedriveTarget::Intents, self.progress.intents).await?;
        let window = self.window(self.progress.reports);
        self.progress.reports = reports::oldest_unsettled(&self.pool.get().await?, &window).await?;
        self.pages(RedriveTarget::Reports, self.progress.reports).await?;
        Ok(())
    }
}

impl Redrive {
    /// Four passes per `redriveSeconds`.
    pub fn period(&self) -> Duration {
        let quarter = Duration::from_secs(self.after_seconds.into()) / 4;
        quarter.clamp(Duration::from_millis(250), Duration::from_secs(30))
    }

    /// Processes page after page, until one is not full.
    async fn pages(&self, kind: RedriveTarget, since: OffsetDateTime) -> Result<(), RedriveError> {
        for _ in 0..MAX_PAGES {
            let page = match kind {
                RedriveTarget::Intents => self.intents(since).await?,
                RedriveTarget::Reports => self.reports(since).await?,
            };
            if page == PageFill::Last {
                break;
            }
        }
        Ok(())
    }

    fn window(&self, since: OffsetDateTime) -> RedriveWindow {
        RedriveWindow {
            since,
            after_seconds: self.after_seconds.into(),
            limit: PAGE,
        }
    }

    async fn intents(&self, since: OffsetDateTime) -> Result<PageFill, RedriveError> {
        let window = self.window(since);
        let queue = WorkQueue::MintSubmit.name();
        let rows = intents::to_redrive(&self.pool.get().await?, &window, queue).await?;
        let keys = self.keys.current();
        let (mut messages, mut subjects) = (Vec::new(), Vec::new());
        for row in rows {
            match row.intent {
                Ok(intent) if answers::is_genuine_intent(&intent, &keys.stored_answers) => {
                    messages.push(self.submit_message(&intent)?);
                }
                Ok(intent) => self.report_tampered("mint_intents", &intent.intent_id.to_string()),
                Err(error) => observe::unreadable_row(&error),
            }
            subjects.push(row.tx_ref);
        }
        self.send(queue, messages, subjects).await
    }

    async fn reports(&self, since: OffsetDateTime) -> Result<PageFill, RedriveError> {
        let window = self.window(since);
        let queue = WorkQueue::MpesaResult.name();
        let rows = reports::to_redrive(&self.pool.get().await?, &window, queue).await?;
        let keys = self.keys.current();
        let (mut messages, mut subjects) = (Vec::new(), Vec::new());
        for row in rows {
            subjects.push(row.signed.report_id.to_string());
            match row.signed.open(&keys.mpesa) {
                Ok(report) => {
                    messages.push(self.report_message(&row, report.tx_ref.as_str())?);
                }
                // The key may be mounted later; the report is not tampered with.
                Err(error @ EvidenceError::UnknownKey(_)) => {
                    tracing::warn!(%error, report_id = %row.signed.report_id, "a report waits for its key");
                }
                Err(error) => {
                    tracing::error!(%error, report_id = %row.signed.report_id, "a stored report is not sent again");
                    self.report_tampered("mpesa_reports", &row.signed.report_id.to_string());
                }
            }
        }
        self.send(queue, messages, subjects).await
    }

    /// Commits marks and messages together. Rows that could not be sent are marked too, because otherwise a full page of
    /// them would hide all others.
    async fn send(
        &self,
        queue: &'static str,
        messages: Vec<OutboxRow>,
        mut subjects: Vec<String>,
    ) -> Result<PageFill, RedriveError> {
        let page = PageFill::of(subjects.len());
        if subjects.is_empty() {
            return Ok(page);
        }
        subjects.sort_unstable();
        let mut client = self.pool.get().await?;
        let tx = client.begin().await?;
        record(&tx, &subjects).await?;
        Outbox::Gateway.push_many(&tx, &messages).await?;
        tx.commit().await?;
        if !messages.is_empty() {
            self.relay.notify();
            observe::redriven(queue, messages.len());
        }
        Ok(page)
    }

    fn submit_message(&self, row: &MintIntent) -> Result<OutboxRow, SealError> {
        let command = MintSubmit {
            intent: row.preimage.clone(),
            integrator: row.integrator.clone(),
            accepted_at: row.created_at.unix_timestamp(),
        };
        self.outbox_row(&command, row.preimage.tx_ref.as_str(), row.trace_parent.clone())
    }

    fn report_message(&self, row: &StoredReport, tx_ref: &str) -> Result<OutboxRow, SealError> {
        self.outbox_row(&result_message(&row.signed, row.late), tx_ref, None)
    }

    fn outbox_row<B: Body>(
        &self,
        body: &B,
        subject: &str,
        traceparent: Option<String>,
    ) -> Result<OutboxRow, SealError> {
        let stamp = MessageMetadata {
            message_id: self.ids.message_id(),
            causation_id: None,
            at: self.clock.now(),
            traceparent,
        };
        let message = self.sealer.seal(body, stamp)?;
        Ok(OutboxRow {
            message_id: message.message_id,
            queue: message.queue.name(),
            subject: subject.to_owned(),
            envelope: message.bytes,
        })
    }

    fn report_tampered(&self, table: &'static str, id: &str) {
        if self.reported.lock().insert(id.to_owned()) {
            observe::tampered(table, id);
        }
    }
}
