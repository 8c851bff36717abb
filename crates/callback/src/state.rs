//! The state that all handlers share, and how their errors become dispositions.

use std::sync::Arc;

use domain::clock::{Clock, IdSource};
use domain::evidence::{EvidenceError, SignedReport};
use domain::ids::MessageId;
use domain::payment::PaymentReport;
use domain::policy::WindowPolicy;
use messaging::{Disposition, MessageMetadata, SealError, Sealer};
use runtime::relay::RelayNotifier;
use runtime::{KeyDirectory, telemetry};
use storage::{ConflictKind, Pool, StorageError};
use tracing::Span;

/// The dependencies of the handlers and sweeps.
pub struct AppState {
    pub pool: Pool,
    pub sealer: Sealer,
    pub keys: KeyDirectory,
    pub ids: Arc<dyn IdSource>,
    pub clock: Arc<dyn Clock>,
    pub windows: WindowPolicy,
    /// Notifies the relay after a commit that pushed a command.
    pub relay: RelayNotifier,
}

impl std::fmt::Debug for AppState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AppState")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum HandlerError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("a command cannot be sealed")]
    Seal(#[from] SealError),
}

impl HandlerError {
    /// Another transaction was faster: run this one again.
    pub fn is_contention(&self) -> bool {
        matches!(self, Self::Storage(StorageError::Conflict(c)) if !matches!(c, ConflictKind::Unique(_)))
    }

    /// The database is unavailable, for every message.
    pub fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Storage(StorageError::Unavailable { .. } | StorageError::CommitUnknown { .. })
        )
    }

    pub fn disposition(&self) -> Disposition {
        let text = domain::error_chain(self);
        match self {
            // The transaction did not run or its commit is unknown; the inbox knows when the message comes again.
            _ if self.is_outage() => Disposition::Return,
            Self::Seal(SealError::NoKey(_)) => Disposition::Return,
            Self::Seal(_) => Disposition::park("unsealable", text),
            Self::Storage(StorageError::Corrupt { .. }) => Disposition::park("corrupt_row", text),
            Self::Storage(StorageError::Conflict(_)) => Disposition::retry("contention", text),
            Self::Storage(_) => Disposition::retry("storage", text),
        }
    }
}

impl AppState {
    /// The metadata of a new message, with a fresh id.
    pub(crate) fn metadata(&self, causation_id: Option<MessageId>, span: &Span) -> MessageMetadata {
        MessageMetadata {
            message_id: self.ids.message_id(),
            causation_id,
            at: self.clock.now(),
            traceparent: telemetry::traceparent_of(span),
        }
    }

    /// Verifies the report's MAC with the keys that are mounted now.
    pub(crate) fn verify_report(&self, report: &SignedReport) -> Result<PaymentReport, EvidenceError> {
        report.open(&self.keys.current().mpesa)
    }
}
