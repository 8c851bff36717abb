//! What every handler works with, and how their failures become dispositions.

use std::sync::Arc;

use domain::clock::{Clock, IdSource};
use domain::evidence::{EvidenceError, SignedReport};
use domain::ids::MessageId;
use domain::payment::PaymentReport;
use domain::policy::WindowPolicy;
use messaging::{Disposition, SealError, Sealer, Stamp};
use runtime::relay::Wake;
use runtime::{KeyDirectory, chain, telemetry};
use storage::{ConflictKind, Pool, StorageError};
use tracing::Span;

/// The service's tools.
pub struct Desk {
    pub pool: Pool,
    pub sealer: Sealer,
    pub keys: KeyDirectory,
    pub ids: Arc<dyn IdSource>,
    pub clock: Arc<dyn Clock>,
    pub windows: WindowPolicy,
    /// Wakes the relay after a commit that pushed a command.
    pub wake: Wake,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Desk")
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("a command cannot be sealed")]
    Seal(#[from] SealError),
}

impl DeskError {
    /// Someone else was faster: simply run the transaction again.
    pub fn is_contention(&self) -> bool {
        matches!(self, Self::Storage(StorageError::Conflict(c)) if !matches!(c, ConflictKind::Unique(_)))
    }

    /// The database is away: nobody gets further.
    pub fn is_outage(&self) -> bool {
        matches!(
            self,
            Self::Storage(StorageError::Unavailable { .. } | StorageError::CommitUnknown { .. })
        )
    }

    pub fn disposition(&self) -> Disposition {
        let text = chain(self);
        match self {
            // Not begun, or begun and unknown: the inbox tells when it comes again.
            _ if self.is_outage() => Disposition::Return,
            Self::Seal(SealError::NoKey(_)) => Disposition::Return,
            Self::Seal(_) => Disposition::park("unsealable", text),
            Self::Storage(StorageError::Corrupt { .. }) => Disposition::park("corrupt_row", text),
            Self::Storage(StorageError::Conflict(_)) => Disposition::retry("contention", text),
            Self::Storage(_) => Disposition::retry("storage", text),
        }
    }
}

impl Desk {
    /// A fresh id and everything else a new message is stamped with.
    pub(crate) fn stamp(&self, causation_id: Option<MessageId>, span: &Span) -> Stamp {
        Stamp {
            message_id: self.ids.message_id(),
            causation_id,
            at: self.clock.now(),
            traceparent: telemetry::traceparent_of(span),
        }
    }

    /// Verifies the MAC with the keys mounted now.
    pub(crate) fn open(&self, report: &SignedReport) -> Result<PaymentReport, EvidenceError> {
        report.open(&self.keys.current().mpesa)
    }
}
