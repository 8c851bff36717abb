//! A purged queue loses nothing: what nothing came of within `redriveSeconds` is sealed and sent again.
//!
//! Only rows that are provably ours are sent: an intent's MAC and id, a report's M-Pesa MAC are verified first.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::clock::{Clock, IdSource};
use messaging::wire::{Body, MintSubmit};
use messaging::{SealError, Sealer, Stamp, WorkQueue};
use runtime::relay::Wake;
use runtime::{KeyDirectory, Stop};
use storage::gateway::intents::{self, MintIntent, RedriveWindow};
use storage::gateway::redrive::mark;
use storage::gateway::reports::{self, StoredReport};
use storage::outbox::OutboxRow;
use storage::{Outbox, Pool, StorageError};
use time::OffsetDateTime;

use crate::answers;
use crate::observe;
use crate::routes::mpesa::on_the_wire;

/// Most messages of one kind in one pass.
const LIMIT: i64 = 500;

/// What the pass needs.
pub struct Redrive {
    pub pool: Pool,
    pub keys: KeyDirectory,
    pub sealer: Sealer,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    pub wake: Wake,
    pub redrive_seconds: u32,
    /// How far back an intent is sent again: past its payment window nothing is deposited.
    pub intent_horizon_seconds: u32,
    pub report_horizon_seconds: u32,
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

/// Everything older is known to have arrived.
#[derive(Clone, Copy)]
struct Settled {
    intents: OffsetDateTime,
    reports: OffsetDateTime,
}

impl Redrive {
    /// Passes four times within `redriveSeconds`, until the stop.
    pub async fn run(self, stop: Stop) {
        let pause = Duration::from_secs(self.redrive_seconds.into()) / 4;
        let pause = pause.clamp(Duration::from_millis(250), Duration::from_secs(30));
        let mut settled =
            Settled { intents: OffsetDateTime::UNIX_EPOCH, reports: OffsetDateTime::UNIX_EPOCH };
        while stop.sleep(pause).await {
            if let Err(error) = self.pass(&mut settled).await {
                tracing::warn!(error = %runtime::chain(&error), "re-drive interrupted");
            }
        }
    }

    async fn pass(&self, settled: &mut Settled) -> Result<(), RedriveError> {
        let young = self.clock.now() - Duration::from_secs(2 * u64::from(self.redrive_seconds));
        let oldest = self.intents(settled.intents).await?;
        settled.intents = oldest.unwrap_or(young);
        let oldest = self.reports(settled.reports).await?;
        settled.reports = oldest.unwrap_or(young);
        Ok(())
    }

    fn window(&self, since: OffsetDateTime, horizon_seconds: u32) -> RedriveWindow {
        RedriveWindow {
            since,
            after_seconds: self.redrive_seconds.into(),
            horizon_seconds: horizon_seconds.into(),
            limit: LIMIT,
        }
    }

    /// Sends intents again; the time of the oldest that is not settled.
    async fn intents(&self, since: OffsetDateTime) -> Result<Option<OffsetDateTime>, RedriveError> {
        let window = self.window(since, self.intent_horizon_seconds);
        let queue = WorkQueue::MintSubmit.name();
        let rows = intents::to_redrive(&self.pool.get().await?, &window, queue).await?;
        let keys = self.keys.current();
        let mut genuine = Vec::new();
        for row in rows {
            match row {
                Ok(row) if answers::is_genuine_intent(&row, &keys.stored_answers) => genuine.push(row),
                Ok(row) => self.alarm("mint_intents", row.intent_id.to_string()),
                Err(error) => observe::unreadable_row(&error),
            }
        }
        let oldest = genuine.iter().map(|row| row.created_at).min();
        let messages = genuine.iter().map(|row| self.command(row)).collect::<Result<Vec<_>, _>>()?;
        let subjects = genuine.iter().map(|row| row.preimage.tx_ref.to_string()).collect();
        self.send(queue, messages, subjects).await?;
        Ok(oldest)
    }

    async fn reports(&self, since: OffsetDateTime) -> Result<Option<OffsetDateTime>, RedriveError> {
        let window = self.window(since, self.report_horizon_seconds);
        let queue = WorkQueue::MpesaResult.name();
        let rows = reports::to_redrive(&self.pool.get().await?, &window, queue).await?;
        let keys = self.keys.current();
        let (mut messages, mut subjects, mut oldest) = (Vec::new(), Vec::new(), None);
        for row in rows {
            match row.signed.open(&keys.mpesa) {
                Ok(report) => {
                    let at = oldest.get_or_insert(row.received_at);
                    *at = row.received_at.min(*at);
                    subjects.push(row.signed.report_id.to_string());
                    messages.push(self.evidence(&row, report.tx_ref.as_str())?);
                }
                Err(error) => {
                    tracing::error!(%error, report_id = %row.signed.report_id, "a stored report is not sent again");
                    self.alarm("mpesa_reports", row.signed.report_id.to_string());
                }
            }
        }
        self.send(queue, messages, subjects).await?;
        Ok(oldest)
    }

    /// Marks and messages together, so that a crash sends twice rather than never.
    async fn send(
        &self,
        queue: &'static str,
        messages: Vec<OutboxRow>,
        mut subjects: Vec<String>,
    ) -> Result<(), RedriveError> {
        if messages.is_empty() {
            return Ok(());
        }
        subjects.sort_unstable();
        let mut client = self.pool.get().await?;
        let tx = client.begin().await?;
        mark(&tx, &subjects).await?;
        Outbox::Gateway.push_many(&tx, &messages).await?;
        tx.commit().await?;
        self.wake.now();
        observe::redriven(queue, messages.len());
        Ok(())
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

    fn alarm(&self, table: &'static str, id: String) {
        if self.alarmed.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone()) {
            observe::tampered(table, &id);
        }
    }
}
