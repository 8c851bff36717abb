//! Consuming: bounded prefetch, seals opened before a handler sees anything, batches, and one place that
//! settles ([`settle`]). A message leaves the queue only after its durable effect, or after its retry or parked
//! copy was confirmed.

mod plan;
mod session;
mod settle;
mod triage;

pub(crate) use triage::whole_number;

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

use crate::connection::{Broker, BrokerError, backoff};
use crate::publish::Publisher;
use crate::seal::Opener;
use crate::wire::Body;

/// A message whose seal verified and whose body has the queue's shape.
#[derive(Clone, Debug)]
pub struct Delivery<B> {
    pub body: B,
    pub message_id: MessageId,
    pub causation_id: Option<MessageId>,
    pub intent_id: Option<IntentId>,
    /// Hint, counted from 1.
    pub attempt: u32,
    /// Hint.
    pub first_seen: OffsetDateTime,
    /// Hint: W3C trace context of the work that made the message.
    pub traceparent: Option<String>,
    /// The broker has handed this out before: the inbox decides whether its effect is already there.
    pub redelivered: bool,
    /// The envelope's exact bytes, to be stored with work that is done later.
    pub sealed: Vec<u8>,
}

/// Why a message could not be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// A bounded word, for example `rpc_rejected`; becomes a metric label.
    pub class: &'static str,
    /// For the on-call, at most 500 characters are kept. No secrets, no phone numbers.
    pub text: String,
    /// The last transaction sent for it.
    pub last_tx_hash: Option<[u8; 32]>,
}

/// What becomes of a delivery; chosen by the handler, which still knows why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Its effect is durable (or was already).
    Done,
    /// Failed, may succeed later: the next attempt after the schedule's wait, parked after the last.
    Retry(Failure),
    /// Can never succeed.
    Park(Failure),
    /// Not begun: a dependency is down, the process stops. Burns no attempt.
    Return,
    /// Not begun, for a reason of this message alone (its key is missing, say): it goes round by a delay queue, longer
    /// the older it is, and holds up no other. Burns no attempt.
    Later,
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

    /// Names the last transaction on the parked entry.
    #[must_use]
    pub fn with_tx(mut self, hash: [u8; 32]) -> Self {
        if let Self::Retry(failure) | Self::Park(failure) = &mut self {
            failure.last_tx_hash = Some(hash);
        }
        self
    }
}

/// How much is taken at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerConfig {
    /// Unacknowledged messages the broker may hand out; at least `max_batch`.
    pub prefetch: u16,
    /// Largest batch given to the handler.
    pub max_batch: usize,
    /// Longest wait for a batch to fill, counted from its first message.
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

/// What a consumer works with.
#[derive(Clone)]
pub struct ConsumerParts {
    pub broker: Broker,
    pub publisher: Publisher,
    pub opener: Opener,
    pub retry: RetryPolicy,
    pub clock: Arc<dyn Clock>,
}

/// Consumes the one queue that carries `B`. Several may run on the same queue.
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

    /// Runs until `shutdown`, through losses of the broker. Consumes only while `gate` is true; when it turns
    /// false (or at shutdown) the consumer is cancelled, what the handler has begun is finished and settled,
    /// and the rest is returned.
    ///
    /// The handler answers one [`Disposition`] per delivery, in order. It must be a no-op for a message id whose
    /// effect is already there. A panic counts as a crash: its batch is redelivered, later one by one, and what
    /// crashes 20 times is parked.
    pub async fn run<H, F>(self, handler: H, mut gate: watch::Receiver<bool>, shutdown: CancellationToken)
    where
        H: Fn(Vec<Delivery<B>>) -> F + Send + Sync + 'static,
        F: Future<Output = Vec<Disposition>> + Send + 'static,
    {
        let mut failures = 0;
        while gate_opens(&mut gate, &shutdown).await {
            let session = session::Session::open(&self.parts, self.config, B::QUEUE).await;
            let ended = match session {
                Ok(session) => {
                    failures = 0;
                    session.run(&handler, &mut gate, &shutdown).await
                }
                Err(error) => Err(error),
            };
            if let Err(error) = ended {
                let wait = wait_after(&error, failures);
                tracing::warn!(queue = %B::QUEUE, error = %chain(&error), wait_ms = wait.as_millis(), "consuming interrupted");
                failures = failures.saturating_add(1);
                pause(wait, &shutdown).await;
            }
        }
    }
}

/// True once the gate is open, false at shutdown. A gate whose owner is gone stays as it was.
async fn gate_opens(gate: &mut watch::Receiver<bool>, shutdown: &CancellationToken) -> bool {
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

async fn pause(wait: Duration, shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = tokio::time::sleep(wait) => {}
    }
}

fn wait_after(error: &BrokerError, failures: u32) -> Duration {
    match error {
        BrokerError::Down { retry_in, .. } => *retry_in,
        _ => backoff(failures),
    }
}

/// An error with all its causes, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
