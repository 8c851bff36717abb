//! Publishing: persistent, mandatory, confirmed, pipelined. A message counts as published only after a positive confirm
//! and no return; every other result has its own error.
//!
//! Each window of messages uses one channel exclusively. lapin gives a returned message to whichever confirm completes
//! next, not to its own, so we match returns by a ticket of ours and discard a channel whose window did not complete.

mod error;
pub(crate) mod outgoing;
mod window;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lapin::Channel;
use lapin::options::ConfirmSelectOptions;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

pub use error::PublishError;
pub use outgoing::Outgoing;

use crate::connection::{Broker, BrokerError};
use crate::observe;
use error::PublishResult;
use window::PublishWindow;

/// Time limit of one window, from the first byte to the last confirm.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of messages in flight on one channel.
const WINDOW: usize = 256;
/// Maximum number of windows in flight.
const CHANNELS: usize = 4;

/// Publishes with confirms. Clones share the channels.
#[derive(Clone, Debug)]
pub struct Publisher(Arc<PublisherInner>);

#[derive(Debug)]
struct PublisherInner {
    broker: Broker,
    idle: Mutex<Vec<Channel>>,
    windows: Semaphore,
    tickets: AtomicU64,
}

impl Publisher {
    pub fn new(broker: &Broker) -> Self {
        Self(Arc::new(PublisherInner {
            broker: broker.clone(),
            idle: Mutex::default(),
            windows: Semaphore::new(CHANNELS),
            tickets: AtomicU64::new(1),
        }))
    }

    /// Returns once the broker has stored the message, or with the reason why it has not.
    pub async fn publish(&self, message: Outgoing) -> Result<(), PublishError> {
        self.publish_many(vec![message]).await.pop().unwrap_or(Ok(()))
    }

    /// Publishes all messages in a pipeline and returns one result per message, in order. Takes at most 10 s per 256
    /// messages.
    pub async fn publish_many(&self, messages: Vec<Outgoing>) -> Vec<Result<(), PublishError>> {
        let mut results = Vec::with_capacity(messages.len());
        for window in messages.chunks(WINDOW) {
            let started = Instant::now();
            let outcomes = self.publish_window(window, started + CONFIRM_TIMEOUT).await;
            observe::publish_window(started.elapsed());
            results.extend(outcomes);
        }
        record_results(&results);
        results
    }

    async fn publish_window(&self, messages: &[Outgoing], deadline: Instant) -> Vec<PublishResult> {
        let not_sent = |why: String| vec![Err(PublishError::NotSent(why)); messages.len()];
        let Ok(Ok(_permit)) = timeout_at(deadline, self.0.windows.acquire()).await else {
            return not_sent("no free channel".into());
        };
        let channel = match timeout_at(deadline, self.channel()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return not_sent(error.to_string()),
            Err(_) => return not_sent("no channel in time".into()),
        };
        let tickets = messages.iter().map(|_| self.ticket()).collect();
        let mut window = PublishWindow::new(messages, self.0.broker.service().ingress(), tickets);
        window.send(&channel, deadline).await;
        if window.is_complete() {
            self.0.idle.lock().push(channel);
        }
        window.into_results()
    }

    async fn channel(&self) -> Result<Channel, BrokerError> {
        loop {
            let idle = self.0.idle.lock().pop();
            match idle {
                Some(channel) if channel.status().connected() => return Ok(channel),
                Some(_) => {}
                None => break,
            }
        }
        let broker = &self.0.broker;
        let channel = broker.publish_channel().await?;
        broker
            .with_timeout(
                "confirm.select",
                channel.confirm_select(ConfirmSelectOptions::default()),
            )
            .await?;
        Ok(channel)
    }

    fn ticket(&self) -> u64 {
        self.0.tickets.fetch_add(1, Ordering::Relaxed)
    }
}

fn record_results(results: &[PublishResult]) {
    let (mut ok, mut failed) = (0_u64, 0_u64);
    for result in results {
        match result {
            Ok(()) => ok += 1,
            Err(error) => {
                failed += 1;
                observe::published(error.kind(), 1);
            }
        }
    }
    observe::published("ok", ok);
    if failed > 0 {
        tracing::warn!(failed, ok, first = ?results.iter().find_map(|r| r.as_ref().err()), "publishing failed");
    }
}
