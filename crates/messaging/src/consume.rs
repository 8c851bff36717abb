//! Consuming: prefetch is bounded, seals are verified before a handler sees a message, messages are handled in batches,
//! and a single place settles them ([`settle`]). A message leaves its queue only after its effect is durable, or after
//! the broker confirmed its retry copy or parked copy.

mod plan;
mod session;
mod settle;
mod triage;

pub(crate) use triage::unsigned_integer;

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use domain::clock::Clock;
use domain::ids::{IntentId, MessageId};
use domain::retry::RetryPolicy;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::connection::{BACKOFF, Broker, BrokerError};
use crate::publish::Publisher;
use crate::seal::Opener;
use crate::wire::Body;

/// A message whose seal was verified and whose body has the queue's type.
#[derive(Clone, Debug)]
pub struct Delivery<B> {
    pub body: B,
    pub message_id: MessageId,
    pub causation_id: Option<MessageId>,
    pub intent_id: Option<IntentId>,
    /// Which attempt this is, counted from 1. Not sealed: a hint only.
    pub attempt: u32,
    /// When the message was created. Not sealed: a hint only.
    pub first_seen: OffsetDateTime,
    /// W3C trace context of the work that created the message. Not sealed: a hint only.
    pub traceparent: Option<String>,
    /// The broker delivered this message before; the inbox decides whether its effect already exists.
    pub redelivered: bool,
    /// The exact bytes of the envelope, to be stored with work that is done later.
    pub sealed: Vec<u8>,
}

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

/// Consumes the queue that carries `B`. Several consumers may read the same queue.
pub struct Consumer<B> {
    parts: ConsumerParts,
    config: ConsumerConfig,
    body: PhantomData<fn() -> B>,
}

impl<B: Body> Consumer<B> {
    pub fn new(parts: ConsumerParts, config: ConsumerConfig) -> Self {
        let max_batch = config.max_batch.max(1);
        let prefetch = config.prefetch.max(u16::try_from(max_batch).unwrap_or(u16::MAX));
        Self {
            parts,
            config: ConsumerConfig {
                prefetch,
                max_batch,
                ..config
            },
            body: PhantomData,
        }
    }

    /// Runs until `shutdown` and survives losses of the broker connection. Consumes only while `gate` is true. When the
    /// gate turns false, or at shutdown, the consumer is cancelled, the running handler finishes and its messages are
    /// settled, and the other messages are returned to the queue.
    ///
    /// The handler returns one [`Disposition`] per delivery, in order. It must do nothing for a message id whose effect
    /// already exists. A panic counts as a crash: the batch is redelivered, after a few crashes one message at a time,
    /// and a message that crashes 20 times is parked.
    pub async fn run<H, F>(self, handler: H, mut gate: watch::Receiver<bool>, shutdown: CancellationToken)
    where
        H: Fn(Vec<Delivery<B>>) -> F + Send + Sync + 'static,
        F: Future<Output = Vec<Disposition>> + Send + 'static,
    {
        let mut failures = 0;
        while wait_for_gate(&mut gate, &shutdown).await {
            let session = session::ConsumerSession::open(&self.parts, self.config, B::QUEUE).await;
            let ended = match session {
                Ok(session) => {
                    failures = 0;
                    session.run(&handler, &mut gate, &shutdown).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                let wait = reconnect_delay(&error, failures);
                tracing::warn!(queue = %B::QUEUE, error = %domain::error_chain(&error), wait_ms = wait.as_millis(), "consuming interrupted");
                failures = failures.saturating_add(1);
                sleep_or_shutdown(wait, &shutdown).await;
            }
        }
    }
}

/// Returns true once the gate is open, false at shutdown. A gate whose sender was dropped keeps its last value.
async fn wait_for_gate(gate: &mut watch::Receiver<bool>, shutdown: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = shutdown.cancelled() => false,
        opened = async {
            if gate.wait_for(|open| *open).await.is_err() {
                std::future::pending::<()>().await;
            }
        } => { let () = opened; true }
    }
}

async fn sleep_or_shutdown(wait: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(wait) => {}
    }
}

fn reconnect_delay(error: &BrokerError, failures: u32) -> Duration {
    match error {
        BrokerError::Down { retry_in, .. } => *retry_in,
        _ => BACKOFF.wait(failures),
    }
}
