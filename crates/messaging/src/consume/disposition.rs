//! What happens to a delivery next: what its handler chose, or why no handler saw it.

/// Why a message could not be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The error class, for example `rpc_rejected`. It becomes a metric label, so it is one of few words.
    pub class: &'static str,
    /// For the on-call engineer; at most 500 characters are kept. Must not contain secrets or phone numbers.
    pub text: String,
    /// The last transaction that was sent for this message.
    pub last_tx_hash: Option<[u8; 32]>,
}

/// What happens to a delivery next. The handler chooses, because it still knows the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The effect of the message is durable, now or from an earlier delivery.
    Done,
    /// Handling failed and may succeed later: the message is retried after the scheduled wait, and parked after the
    /// last attempt.
    Retry(Failure),
    /// Handling can never succeed: the message is parked.
    Park(Failure),
    /// Handling did not start because a dependency is down or the process stops. Does not count as an attempt.
    Return,
    /// Handling did not start for a reason that concerns only this message, for example a missing key. The message
    /// waits on a delay queue, longer the older it is, and blocks no other. Does not count as an attempt.
    Defer,
}

impl Disposition {
    pub fn retry(class: &'static str, text: impl Into<String>) -> Self {
        Self::Retry(Failure {
            class,
            text: text.into(),
            last_tx_hash: None,
        })
    }

    pub fn park(class: &'static str, text: impl Into<String>) -> Self {
        Self::Park(Failure {
            class,
            text: text.into(),
            last_tx_hash: None,
        })
    }

    /// Records the last transaction, which the dead-letter entry then shows.
    #[must_use]
    pub fn with_tx(mut self, hash: [u8; 32]) -> Self {
        if let Self::Retry(failure) | Self::Park(failure) = &mut self {
            failure.last_tx_hash = Some(hash);
        }
        self
    }
}

/// The result of one delivery: what the handler returned, or why it could not run.
#[derive(Clone, Debug)]
pub(super) enum DeliveryResult {
    Settle(Disposition),
    /// The handler panicked or returned the wrong number of dispositions.
    Crashed,
    /// The message is sealed under a key that this process does not have.
    AwaitKey(String),
}

impl DeliveryResult {
    pub fn park(class: &'static str, text: String) -> Self {
        Self::Settle(Disposition::park(class, text))
    }
}
