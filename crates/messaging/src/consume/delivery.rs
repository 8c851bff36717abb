//! A delivery: the raw one, as the broker sent it, and the one that a handler sees.

use domain::ids::{IntentId, MessageId};
use time::OffsetDateTime;

use crate::amqp::unsigned_integer;
use crate::envelope::Envelope;
use crate::names::WorkQueue;

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

/// A delivery as the broker sent it, kept until it is settled.
pub(super) struct RawDelivery {
    pub delivery: lapin::message::Delivery,
    pub queue: WorkQueue,
    /// How often the broker delivered the message before.
    pub redeliveries: u64,
    /// Present when the bytes parse as an envelope; its seal may still be invalid.
    pub envelope: Option<Envelope>,
}

impl RawDelivery {
    pub fn new(delivery: lapin::message::Delivery, queue: WorkQueue) -> Self {
        let redeliveries = redeliveries(&delivery);
        let envelope = Envelope::parse(&delivery.data).ok();
        Self {
            delivery,
            queue,
            redeliveries,
            envelope,
        }
    }

    pub fn message_id(&self) -> Option<MessageId> {
        if let Some(envelope) = &self.envelope {
            return Some(envelope.message_id);
        }
        let id = self.delivery.properties.message_id().as_ref()?;
        id.as_str().parse().ok()
    }
}

/// RabbitMQ 3.10 counts every return in `x-delivery-count`; later versions count only failures there, and every delivery
/// in `x-acquired-count`.
fn redeliveries(delivery: &lapin::message::Delivery) -> u64 {
    let Some(headers) = delivery.properties.headers() else {
        return 0;
    };
    let count = |name: &str| headers.inner().get(name).and_then(unsigned_integer).unwrap_or(0);
    count("x-delivery-count").max(count("x-acquired-count"))
}
