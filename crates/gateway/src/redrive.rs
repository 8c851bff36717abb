//! A purged queue loses nothing: what nothing came of within `redriveSeconds` is sealed and sent again, however old it
//! is. Past its payment window an intent is not deposited: the executor drops it, and its payer is owed.
//!
//! Only rows that are provably ours are sent: an intent's MAC and id, a report's M-Pesa MAC are verified first.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::clock::{Clock, IdSource};
use domain::evidence::EvidenceError;
use messaging::wire::{Body, MintSubmit};
use messaging::{SealError, Sealer, Stamp, WorkQueue};
use runtime::relay::Wake;
use runtime::{KeyDirectory, Stop};
use storage::gateway::intents::{self, MintIntent};
use storage::gateway::redrive::{RedriveWindow, record};
use storage::gateway::reports::{self, StoredReport};
use storage::outbox::OutboxRow;
use storage::{Outbox, Pool, StorageError};
use time::OffsetDateTime;

use crate::answers;
use crate::observe;
use crate::routes::mpesa::on_the_wire;

/// Messages in one statement: what a large one needs, its connection keeps for as long as it lives.
const PAGE: i64 = 64;
/// Most pages of one kind in one pass.
const PAGES: u32 = 8;

/// What the pass needs.
pub struct Redrive {
    pub pool: Pool,
    pub keys: KeyDirectory,
    pub sealer: Sealer,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    pub wake: Wake,
    pub after_seconds: u32,
    /// Rows already reported as tampered with: one alarm each, not one a pass.
    pub alarmed: Mutex<HashSet<String>>,
}

#[derive(Debug, thiserror::Error)]
enum RedriveError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Seal(#[from] SealError),
}

#[derive(PartialEq, Eq)]
enum Page {
    Full,
    Last,
}

impl Page {
    fn of(rows: usize) -> Self {
        if i64::try_from(rows).is_ok_and(|rows| rows < PAGE) {
            Self::Last
        } else {
            Self::Full
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Intents,
    Reports,
}

/// Everything older is known to have arrived, or has a mark.
#[derive(Clone, Copy)]
struct Settled {
    intents: OffsetDateTime,
    reports: OffsetDateTime,
}

impl Redrive {
    /// Passes four times within `redriveSeconds`, until the stop.
    pub async fn run(self, stop: Stop) {
        let pause = Duration::from_secs(self.after_seconds.into()) / 4;
        let pause = pause.clamp(Duration::from_millis(250), Duration::from_secs(30));
        let mut settled = Settled {
            intents: OffsetDateTime::UNIX_EPOCH,
            reports: OffsetDateTime::UNIX_EPOCH,
        };
        while stop.sleep(pause).await {
            if let Err(error) = self.pass(&mut settled).await {
                tracing::warn!(error = %runtime::chain(&error), "re-drive interrupted");
            }
        }
    }

    async fn pass(&self, settled: &mut Settled) -> Result<(), RedriveError> {
        let window = self.window(settled.intents);
        settled.intents = intents::oldest_unsettled(&self.pool.get().await?, &window).await?;
        self.pages(Kind::Intents, settled.intents).await?;
        let window = self.window(settled.reports);
        settled.reports = reports::oldest_unsettled(&self.pool.get().await?, &window).await?;
        self.pages(Kind::Reports, settled.reports).await?;
        Ok(())
    }

    /// Page after page, until one is not full.
    async fn pages(&self, kind: Kind, since: OffsetDateTime) -> Result<(), RedriveError> {
        for _ in 0..PAGES {
            let page = match kind {
                Kind::Intents => self.intents(since).await?,
                Kind::Reports => self.reports(since).await?,
            };
            if page == Page::Last {
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

    async fn intents(&self, since: OffsetDateTime) -> Result<Page, RedriveError> {
        let window = self.window(since);
        let queue = WorkQueue::MintSubmit.name();
        let rows = intents::to_redrive(&self.pool.get().await?, &window, queue).await?;
        let keys = self.keys.current();
        let (mut messages, mut subjects) = (Vec::new(), Vec::new());
        for row in rows {
            match row.intent {
                Ok(intent) if answers::is_genuine_intent(&intent, &keys.stored_answers) => {
                    messages.push(self.command(&intent)?);
                }
                Ok(intent) => self.alarm("mint_intents", &intent.intent_id.to_string()),
                Err(error) => observe::unreadable_row(&error),
            }
            subjects.push(row.tx_ref);
        }
        self.send(queue, messages, subjects).await
    }

    async fn reports(&self, since: OffsetDateTime) -> Result<Page, RedriveError> {
        let window = self.window(since);
        let queue = WorkQueue::MpesaResult.name();
        let rows = reports::to_redrive(&self.pool.get().await?, &window, queue).await?;
        let keys = self.keys.current();
        let (mut messages, mut subjects) = (Vec::new(), Vec::new());
        for row in rows {
            subjects.push(row.signed.report_id.to_string());
            match row.signed.open(&keys.mpesa) {
                Ok(report) => {
                    messages.push(self.evidence(&row, report.tx_ref.as_str())?);
                }
                // The key may be mounted later; nobody changed anything.
                Err(error @ EvidenceError::UnknownKey(_)) => {
                    tracing::warn!(%error, report_id = %row.signed.report_id, "a report waits for its key");
                }
                Err(error) => {
                    tracing::error!(%error, report_id = %row.signed.report_id, "a stored report is not sent again");
                    self.alarm("mpesa_reports", &row.signed.report_id.to_string());
                }
            }
        }
        self.send(queue, messages, subjects).await
    }

    /// Marks and messages together, so that a crash sends twice rather than never. What was looked at in vain is
    /// marked too: a full page of such rows would otherwise hide every other one.
    async fn send(
        &self,
        queue: &'static str,
        messages: Vec<OutboxRow>,
        mut subjects: Vec<String>,
    ) -> Result<Page, RedriveError> {
        let page = Page::of(subjects.len());
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
            self.wake.now();
            observe::redriven(queue, messages.len());
        }
        Ok(page)
    }

    fn command(&self, row: &MintIntent) -> Result<OutboxRow, SealError> {
        let command = MintSubmit {
            intent: row.preimage.clone(),
            integrator: row.integrator.clone(),
            accepted_at: row.created_at.unix_timestamp(),
        };
        self.sealed(&command, row.preimage.tx_ref.as_str(), row.trace_parent.clone())
    }

    fn evidence(&self, row: &StoredReport, tx_ref: &str) -> Result<OutboxRow, SealError> {
        self.sealed(&on_the_wire(&row.signed, row.late), tx_ref, None)
    }

    fn sealed<B: Body>(
        &self,
        body: &B,
        subject: &str,
        traceparent: Option<String>,
    ) -> Result<OutboxRow, SealError> {
        let stamp = Stamp {
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

    fn alarm(&self, table: &'static str, id: &str) {
        if self
            .alarmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id.to_owned())
        {
            observe::tampered(table, id);
        }
    }
}
