//! Consuming: prefetch is bounded, seals are verified before a handler sees a message, messages are handled in batches,
//! and a single place settles them ([`settle`]). A message leaves its queue only after its effect is durable, or after
//! the broker confirmed its retry copy or parked copy.

mod delivery;
mod disposition;
mod parts;
mod plan;
mod session;
mod settle;
mod triage;

use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use delivery::Delivery;
pub use disposition::{Disposition, Failure};
pub use parts::{ConsumerConfig, ConsumerParts};

use crate::backoff::{BACKOFF, sleep_or_shutdown};
use crate::connection::BrokerError;
use crate::wire::Body;
use session::ConsumerSession;

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
            let session = ConsumerSession::open(&self.parts, self.config, B::QUEUE).await;
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

fn reconnect_delay(error: &BrokerError, failures: u32) -> Duration {
    match error {
        BrokerError::Down { retry_in, .. } => *retry_in,
        _ => BACKOFF.wait(failures),
    }
}
