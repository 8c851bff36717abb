//! What a consumer works with, and how much of it at once.

use std::sync::Arc;
use std::time::Duration;

use domain::clock::Clock;
use domain::retry::RetryPolicy;

use crate::connection::Broker;
use crate::publish::Publisher;
use crate::seal::Opener;

/// How many messages a consumer takes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// Maximum number of unacknowledged messages; at least `max_batch`.
    pub prefetch: u16,
    /// Maximum number of messages that one call of the handler gets.
    pub max_batch: usize,
    /// Maximum time to wait for a batch to fill, counted from its first message.
    pub linger: Duration,
}

impl Default for ConsumerConfig {
    fn default() -> Self {
        Self {
            prefetch: 256,
            max_batch: 64,
            linger: Duration::from_millis(5),
        }
    }
}

/// The dependencies of a consumer.
#[derive(Clone)]
pub struct ConsumerParts {
    pub broker: Broker,
    pub publisher: Publisher,
    pub opener: Opener,
    pub retry: RetryPolicy,
    pub clock: Arc<dyn Clock>,
}
