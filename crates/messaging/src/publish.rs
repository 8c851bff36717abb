//! Publishing: persistent, mandatory, confirmed, pipelined. A message counts as published only after a positive confirm
//! and no return; every other result has its own error.
//!
//! Each window of messages uses one channel exclusively. lapin gives a returned message to whichever confirm completes
//! next, not to its own, so we match returns by a ticket of ours and discard a channel whose window did not complete.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::ids::MessageId;
use futures_util::future::join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::connection::{Broker, BrokerError};
use crate::dead_letters::entry;
use crate::envelope::MAX_MESSAGE_BYTES;
use crate::observe;
use crate::seal::SealedMessage;
use crate::topology::{WorkQueue, short_string};

/// Time limit of one window, from the first byte to the last confirm.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// Maximum number of messages in flight on one channel.
const WINDOW: usize = 256;
/// Maximum number of windows in flight.
const CHANNELS: usize = 4;
/// The broker gives back what no queue takes.
const MANDATORY: bool = true;

/// A message to be published.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub(crate) exchange: Route,
    pub(crate) routing_key: String,
    pub(crate) message_id: Option<MessageId>,
    pub(crate) expiration: Option<Duration>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) payload: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// The ingress exchange of the publishing service.
    Ingress,
    Named(String),
}

impl Outgoing {
    /// A new sealed message for its work queue, for example from an outbox row.
    pub fn work(queue: WorkQueue, message_id: MessageId, sealed: Vec<u8>) -> Self {
        Self {
            exchange: Route::Ingress,
            routing_key: queue.name().to_owned(),
            message_id: Some(message_id),
            expiration: None,
            headers: Vec::new(),
            payload: sealed,
        }
    }

    /// A dead letter that no consumer parks: work that was accepted earlier and now needs a person.
    pub fn parked(
        queue: WorkQueue,
        sealed: &[u8],
        report: &entry::FailureReport<'_>,
        now: time::OffsetDateTime,
        service: (&str, &str),
    ) -> Self {
        let envelope = crate::envelope::Envelope::parse(sealed).ok();
        Self {
            exchange: Route::Named(crate::topology::DEAD_EXCHANGE.to_owned()),
            routing_key: queue.name().to_owned(),
            message_id: envelope.as_ref().map(|envelope| envelope.message_id),
            expiration: None,
            headers: entry::headers(queue, envelope.as_ref(), report, now, service),
            payload: entry::truncate_payload(sealed),
        }
    }

    fn properties(&self, ticket: u64) -> BasicProperties {
        let mut headers = FieldTable::default();
        for (name, value) in &self.headers {
            headers.insert(short_string(name), AMQPValue::LongString(value.as_str().into()));
        }
        let mut properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type(short_string("application/json"))
            .with_correlation_id(ticket.to_string().into())
            .with_headers(headers);
        if let Some(id) = self.message_id {
            properties = properties.with_message_id(id.to_string().into());
        }
        if let Some(wait) = self.expiration {
            properties = properties.with_expiration(wait.as_millis().to_string().into());
        }
        properties
    }
}

impl From<SealedMessage> for Outgoing {
    fn from(message: SealedMessage) -> Self {
        Self::work(message.queue, message.message_id, message.bytes)
    }
}

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

type PublishResult = Result<(), PublishError>;

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
    pub(crate) fn new(broker: Broker) -> Self {
        Self(Arc::new(PublisherInner {
            broker,
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
        let window = PublishWindow::send(self, &channel, messages, deadline).await;
        if window.is_complete() {
            self.0.idle.lock().push(channel);
        }
        window.into_results(messages, self.0.broker.service().ingress())
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

/// The state of one window after its deadline, or after every message was answered.
struct PublishWindow {
    tickets: Vec<u64>,
    confirms: Vec<ConfirmResult>,
    returned: HashSet<u64>,
}

enum ConfirmResult {
    Acked,
    Nacked,
    TooLarge(usize),
    Unanswered(String),
}

impl PublishWindow {
    async fn send(
        publisher: &Publisher,
        channel: &Channel,
        messages: &[Outgoing],
        deadline: Instant,
    ) -> Self {
        let ingress = publisher.0.broker.service().ingress();
        let tickets: Vec<u64> = messages.iter().map(|_| publisher.ticket()).collect();
        let options = BasicPublishOptions {
            mandatory: MANDATORY,
            ..Default::default()
        };
        let send = |message: &Outgoing, ticket| {
            let exchange = match &message.exchange {
                Route::Ingress => short_string(ingress),
                Route::Named(name) => short_string(name),
            };
            let (key, properties) = (short_string(&message.routing_key), message.properties(ticket));
            let payload = message.payload.clone();
            async move {
                if payload.len() > MAX_MESSAGE_BYTES {
                    return Err(ConfirmResult::TooLarge(payload.len()));
                }
                let sent = channel.basic_publish(exchange, key, options, &payload, properties);
                match timeout_at(deadline, sent).await {
                    Ok(Ok(confirm)) => Ok(confirm),
                    Ok(Err(error)) => Err(ConfirmResult::Unanswered(error.to_string())),
                    Err(_) => Err(ConfirmResult::Unanswered("not written in time".into())),
                }
            }
        };
        let sent = join_all(
            messages
                .iter()
                .zip(&tickets)
                .map(|(message, ticket)| send(message, *ticket)),
        )
        .await;
        let mut window = Self {
            tickets,
            confirms: Vec::with_capacity(messages.len()),
            returned: HashSet::new(),
        };
        for confirm in sent {
            let answer = match confirm {
                Ok(confirm) => window.await_confirm(confirm, deadline).await,
                Err(answer) => answer,
            };
            window.confirms.push(answer);
        }
        window
    }

    async fn await_confirm(&mut self, confirm: PublisherConfirm, deadline: Instant) -> ConfirmResult {
        let (answer, returned) = match timeout_at(deadline, confirm).await {
            Ok(Ok(Confirmation::Ack(returned))) => (ConfirmResult::Acked, returned),
            Ok(Ok(Confirmation::Nack(returned))) => (ConfirmResult::Nacked, returned),
            Ok(Ok(Confirmation::NotRequested)) => {
                (ConfirmResult::Unanswered("confirms are off".into()), None)
            }
            Ok(Err(error)) => (ConfirmResult::Unanswered(error.to_string()), None),
            Err(_) => (ConfirmResult::Unanswered("no confirm in time".into()), None),
        };
        if let Some(message) = returned {
            let ticket = message
                .delivery
                .properties
                .correlation_id()
                .as_ref()
                .map(|id| id.as_str().parse());
            // A return without one of our tickets makes the whole window untrustworthy.
            self.returned.insert(ticket.and_then(Result::ok).unwrap_or(0));
        }
        answer
    }

    fn is_complete(&self) -> bool {
        !self
            .confirms
            .iter()
            .any(|answer| matches!(answer, ConfirmResult::Unanswered(_)))
            && !self.returned.contains(&0)
    }

    fn into_results(self, messages: &[Outgoing], ingress: &str) -> Vec<PublishResult> {
        // A confirm that is still missing may carry another message's return, so then no positive confirm is trustworthy.
        let is_complete = self.is_complete();
        let rows = self.tickets.iter().zip(self.confirms).zip(messages);
        rows.map(|((ticket, answer), message)| match answer {
            _ if self.returned.contains(ticket) => Err(PublishError::Unroutable {
                exchange: match &message.exchange {
                    Route::Ingress => ingress.to_owned(),
                    Route::Named(name) => name.clone(),
                },
                routing_key: message.routing_key.clone(),
            }),
            ConfirmResult::Acked if is_complete => Ok(()),
            ConfirmResult::Acked => Err(PublishError::Unknown(
                "the window was not answered in full".into(),
            )),
            ConfirmResult::Nacked => Err(PublishError::Refused),
            ConfirmResult::TooLarge(bytes) => Err(PublishError::TooLarge(bytes)),
            ConfirmResult::Unanswered(why) => Err(PublishError::Unknown(why)),
        })
        .collect()
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

#[cfg(test)]
mod tests;
