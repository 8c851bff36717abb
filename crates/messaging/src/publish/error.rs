//! Why a message does not count as published, and what the caller can do.

/// Why a message does not count as published.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The message was not sent. Try again later.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The broker returned the message because no queue is bound there: the topology or the permissions are wrong.
    #[error("no queue takes {routing_key} from {exchange}")]
    Unroutable { exchange: String, routing_key: String },
    /// The broker refused the message because the queue is full or unavailable. It is not stored. Try again later.
    #[error("refused by the broker")]
    Refused,
    /// The message was sent and no answer came: it may or may not be stored, so publishing again may duplicate it.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// The message was not sent because it is larger than consumers accept.
    #[error("{0} bytes are more than a message may have")]
    TooLarge(usize),
}

impl PublishError {
    /// Whether the error concerns only this message's queue, so that other queues may still accept messages.
    pub const fn is_queue_specific(&self) -> bool {
        match self {
            Self::Unroutable { .. } | Self::Refused | Self::TooLarge(_) => true,
            Self::NotSent(_) | Self::Unknown(_) => false,
        }
    }

    /// The metric label.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::NotSent(_) => "not_sent",
            Self::Unroutable { .. } => "unroutable",
            Self::Refused => "refused",
            Self::Unknown(_) => "unknown",
            Self::TooLarge(_) => "too_large",
        }
    }
}

pub(super) type PublishResult = Result<(), PublishError>;
