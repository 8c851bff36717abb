//! A message on its way to the broker: where it goes, and what stands around its bytes.

use std::time::Duration;

use domain::ids::MessageId;
use lapin::BasicProperties;
use lapin::types::{AMQPValue, FieldTable};

use crate::amqp::short_string;
use crate::envelope::Envelope;
use crate::failure_report::{FailureReport, truncate_payload};
use crate::names::{DEAD_EXCHANGE, WorkQueue, retry_exchange};
use crate::seal::SealedMessage;

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

impl Route {
    /// The exchange, for a service that publishes new messages to `ingress`.
    pub(super) fn name<'a>(&'a self, ingress: &'a str) -> &'a str {
        match self {
            Self::Ingress => ingress,
            Self::Named(name) => name,
        }
    }
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
    pub fn parked(queue: WorkQueue, sealed: &[u8], report: &FailureReport<'_>) -> Self {
        let envelope = Envelope::parse(sealed).ok();
        let message_id = envelope.as_ref().map(|envelope| envelope.message_id);
        let headers = report.headers(queue, envelope.as_ref());
        Self::dead_letter(queue, message_id, headers, truncate_payload(sealed))
    }

    /// An entry of a queue's dead-letter queue.
    pub(crate) fn dead_letter(
        queue: WorkQueue,
        message_id: Option<MessageId>,
        headers: Vec<(&'static str, String)>,
        payload: Vec<u8>,
    ) -> Self {
        Self {
            exchange: Route::Named(DEAD_EXCHANGE.to_owned()),
            routing_key: queue.name().to_owned(),
            message_id,
            expiration: None,
            headers,
            payload,
        }
    }

    /// A copy that comes back to its queue after `wait`, by the delay queue of `step`. It has no headers and nothing of
    /// the original's properties, because with a copied `x-death` the broker would detect a cycle and drop the message.
    pub(crate) fn delayed(
        queue: WorkQueue,
        envelope: &Envelope,
        step: u32,
        wait: Duration,
    ) -> serde_json::Result<Self> {
        Ok(Self {
            exchange: Route::Named(retry_exchange(step)),
            routing_key: queue.name().to_owned(),
            message_id: Some(envelope.message_id),
            expiration: Some(wait),
            headers: Vec::new(),
            payload: serde_json::to_vec(envelope)?,
        })
    }

    pub(super) fn properties(&self, ticket: u64) -> BasicProperties {
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
