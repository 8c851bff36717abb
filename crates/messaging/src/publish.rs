//! Publishing: persistent, mandatory, confirmed, pipelined. Only a positive confirm of a message that was not
//! returned counts; whatever else happened is named.
//!
//! One window of messages owns a channel for its whole life. lapin hands a returned message to whichever confirm
//! completes next, not to its own, so returns are matched by a ticket of ours, and a channel whose window did
//! not complete is thrown away.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use domain::ids::MessageId;
use futures_util::future::join_all;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, PublisherConfirm};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};

use crate::connection::{Broker, BrokerError};
use crate::dead_letters::entry;
use crate::envelope::MAX_MESSAGE_BYTES;
use crate::observe;
use crate::seal::SealedMessage;
use crate::topology::{WorkQueue, short};

/// Bound of one window, from first byte to last confirm.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);
/// Messages in flight on one channel.
const WINDOW: usize = 256;
/// Windows in flight at once.
const CHANNELS: usize = 4;

/// One message on its way out.
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
    /// A new sealed message for its work queue, for example a row of an outbox.
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

    /// A dead letter written outside a consumer: work that was accepted long ago and needs a person now.
    pub fn parked(
        queue: WorkQueue,
        sealed: &[u8],
        story: &entry::Story<'_>,
        now: time::OffsetDateTime,
        service: (&str, &str),
    ) -> Self {
        let envelope = crate::envelope::Envelope::parse(sealed).ok();
        Self {
            exchange: Route::Named(crate::topology::DEAD_EXCHANGE.to_owned()),
            routing_key: queue.name().to_owned(),
            message_id: envelope.as_ref().map(|envelope| envelope.message_id),
            expiration: None,
            headers: entry::headers(queue, envelope.as_ref(), story, now, service),
            payload: entry::bounded_payload(sealed),
        }
    }

    fn properties(&self, ticket: u64) -> BasicProperties {
        let mut headers = FieldTable::default();
        for (name, value) in &self.headers {
            headers.insert(short(name), AMQPValue::LongString(value.as_str().into()));
        }
        let mut properties = BasicProperties::default()
            .with_delivery_mode(2)
            .with_content_type(short("application/json"))
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
    /// Not sent at all; try again later.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The broker returned it: no queue is bound there for us. A fault of topology or permission.
    #[error("no queue takes {routing_key} from {exchange}")]
    Unroutable { exchange: String, routing_key: String },
    /// The broker said no: the queue is full or not available. Not stored; try again later.
    #[error("refused by the broker")]
    Refused,
    /// Sent, and no answer came: it may or may not be stored. Publishing again may duplicate it.
    #[error("outcome unknown: {0}")]
    Unknown(String),
    /// Never sent: longer than any reader accepts.
    #[error("{0} bytes are more than a message may have")]
    TooLarge(usize),
}

impl PublishError {
    /// Whether this message's queue is to blame, while others may work.
    pub const fn is_of_queue(&self) -> bool {
        match self {
            Self::Unroutable { .. } | Self::Refused | Self::TooLarge(_) => true,
            Self::NotSent(_) | Self::Unknown(_) => false,
        }
    }

    /// Metric label.
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

type Outcome = Result<(), PublishError>;

/// Publishes with confirms; clones share the channels.
#[derive(Clone, Debug)]
pub struct Publisher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    broker: Broker,
    idle: Mutex<Vec<Channel>>,
    windows: Semaphore,
    tickets: AtomicU64,
}

impl Publisher {
    pub(crate) fn new(broker: Broker) -> Self {
        Self(Arc::new(Inner {
            broker,
            idle: Mutex::default(),
            windows: Semaphore::new(CHANNELS),
            tickets: AtomicU64::new(1),
        }))
    }

    /// Returns once the broker has stored the message, or why not.
    pub async fn publish(&self, message: Outgoing) -> Result<(), PublishError> {
        self.publish_many(vec![message]).await.pop().unwrap_or(Ok(()))
    }

    /// Publishes pipelined; one result per message, in their order. Ends within 10 s per 256 messages.
    pub async fn publish_many(&self, messages: Vec<Outgoing>) -> Vec<Result<(), PublishError>> {
        let mut results = Vec::with_capacity(messages.len());
        for window in messages.chunks(WINDOW) {
            let started = Instant::now();
            let outcomes = self.window(window, started + CONFIRM_TIMEOUT).await;
            observe::publish_window(started.elapsed());
            results.extend(outcomes);
        }
        count(&results);
        results
    }

    async fn window(&self, messages: &[Outgoing], deadline: Instant) -> Vec<Outcome> {
        let not_sent = |why: String| vec![Err(PublishError::NotSent(why)); messages.len()];
        let Ok(Ok(_permit)) = timeout_at(deadline, self.0.windows.acquire()).await else {
            return not_sent("no free channel".into());
        };
        let channel = match timeout_at(deadline, self.channel()).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return not_sent(error.to_string()),
            Err(_) => return not_sent("no channel in time".into()),
        };
        let window = Window::send(self, &channel, messages, deadline).await;
        if window.complete() {
            self.0
                .idle
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(channel);
        }
        window.outcomes(messages, self.0.broker.service().ingress())
    }

    async fn channel(&self) -> Result<Channel, BrokerError> {
        loop {
            let idle = self.0.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match idle {
                Some(channel) if channel.status().connected() => return Ok(channel),
                Some(_) => {}
                None => break,
            }
        }
        let broker = &self.0.broker;
        let channel = broker.publish_channel().await?;
        broker
            .bounded(
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

/// What is known of one window once its deadline passed or all was answered.
struct Window {
    tickets: Vec<u64>,
    answers: Vec<Answer>,
    returned: HashSet<u64>,
}

enum Answer {
    Acked,
    Nacked,
    TooLarge(usize),
    Silent(String),
}

impl Window {
    async fn send(
        publisher: &Publisher,
        channel: &Channel,
        messages: &[Outgoing],
        deadline: Instant,
    ) -> Self {
        let ingress = publisher.0.broker.service().ingress();
        let tickets: Vec<u64> = messages.iter().map(|_| publisher.ticket()).collect();
        let options = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let send = |message: &Outgoing, ticket| {
            let exchange = match &message.exchange {
                Route::Ingress => short(ingress),
                Route::Named(name) => short(name),
            };
            let (key, properties) = (short(&message.routing_key), message.properties(ticket));
            let payload = message.payload.clone();
            async move {
                if payload.len() > MAX_MESSAGE_BYTES {
                    return Err(Answer::TooLarge(payload.len()));
                }
                let sent = channel.basic_publish(exchange, key, options, &payload, properties);
                match timeout_at(deadline, sent).await {
                    Ok(Ok(confirm)) => Ok(confirm),
                    Ok(Err(error)) => Err(Answer::Silent(error.to_string())),
                    Err(_) => Err(Answer::Silent("not written in time".into())),
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
            answers: Vec::with_capacity(messages.len()),
            returned: HashSet::new(),
        };
        for confirm in sent {
            let answer = match confirm {
                Ok(confirm) => window.answer(confirm, deadline).await,
                Err(answer) => answer,
            };
            window.answers.push(answer);
        }
        window
    }

    async fn answer(&mut self, confirm: PublisherConfirm, deadline: Instant) -> Answer {
        let (answer, returned) = match timeout_at(deadline, confirm).await {
            Ok(Ok(Confirmation::Ack(returned))) => (Answer::Acked, returned),
            Ok(Ok(Confirmation::Nack(returned))) => (Answer::Nacked, returned),
            Ok(Ok(Confirmation::NotRequested)) => (Answer::Silent("confirms are off".into()), None),
            Ok(Err(error)) => (Answer::Silent(error.to_string()), None),
            Err(_) => (Answer::Silent("no confirm in time".into()), None),
        };
        if let Some(message) = returned {
            let ticket = message
                .delivery
                .properties
                .correlation_id()
                .as_ref()
                .map(|id| id.as_str().parse());
            // A return that names no ticket of ours poisons the window: nothing in it is then believed.
            self.returned.insert(ticket.and_then(Result::ok).unwrap_or(0));
        }
        answer
    }

    fn complete(&self) -> bool {
        !self
            .answers
            .iter()
            .any(|answer| matches!(answer, Answer::Silent(_)))
            && !self.returned.contains(&0)
    }

    fn outcomes(self, messages: &[Outgoing], ingress: &str) -> Vec<Outcome> {
        // A return may have been handed to a confirm that is still out: no positive confirm is safe then.
        let trusted = self.complete();
        let rows = self.tickets.iter().zip(self.answers).zip(messages);
        rows.map(|((ticket, answer), message)| match answer {
            _ if self.returned.contains(ticket) => Err(PublishError::Unroutable {
                exchange: match &message.exchange {
                    Route::Ingress => ingress.to_owned(),
                    Route::Named(name) => name.clone(),
                },
                routing_key: message.routing_key.clone(),
            }),
            Answer::Acked if trusted => Ok(()),
            Answer::Acked => Err(PublishError::Unknown(
                "the window was not answered in full".into(),
            )),
            Answer::Nacked => Err(PublishError::Refused),
            Answer::TooLarge(bytes) => Err(PublishError::TooLarge(bytes)),
            Answer::Silent(why) => Err(PublishError::Unknown(why)),
        })
        .collect()
    }
}

fn count(results: &[Outcome]) {
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
