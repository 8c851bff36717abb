//! Clock and id source are parameters, so that a test can choose their values.

use std::sync::Arc;
use std::time::SystemTime;

use time::OffsetDateTime;
use uuid::Uuid;

use crate::ids::{MessageId, ReportId};

/// The wall clock. Windows and leases use the database clock instead (docs/PROTOCOL.md).
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> OffsetDateTime;

    /// Whole seconds since 1970-01-01T00:00:00Z, the unit of every signed timestamp.
    fn unix_seconds(&self) -> i64 {
        self.now().unix_timestamp()
    }
}

/// New identifiers.
pub trait IdSource: Send + Sync + 'static {
    fn uuid(&self) -> Uuid;

    fn message_id(&self) -> MessageId {
        MessageId(self.uuid())
    }

    fn report_id(&self) -> ReportId {
        ReportId(self.uuid())
    }
}

/// The machine's clock and time-ordered random ids: the source used in production.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemSource;

#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that reads the machine's clock and entropy"
)]
mod system {
    use super::{Clock, IdSource, OffsetDateTime, SystemSource, SystemTime, Uuid};

    impl Clock for SystemSource {
        fn now(&self) -> OffsetDateTime {
            SystemTime::now().into()
        }
    }

    impl IdSource for SystemSource {
        fn uuid(&self) -> Uuid {
            Uuid::now_v7()
        }
    }
}

/// A clock that shows the time it was set to.
#[derive(Clone, Debug)]
pub struct FixedClock(Arc<std::sync::atomic::AtomicI64>);

impl FixedClock {
    pub fn at(unix_seconds: i64) -> Self {
        Self(Arc::new(unix_seconds.into()))
    }

    pub fn set(&self, unix_seconds: i64) {
        self.0.store(unix_seconds, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> OffsetDateTime {
        let seconds = self.0.load(std::sync::atomic::Ordering::SeqCst);
        OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }
}
