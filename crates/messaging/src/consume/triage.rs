//! The first checks of a delivery: how often it was redelivered, and whether its seal and body are valid.

use domain::ids::MessageId;
use lapin::types::AMQPValue;

use super::Delivery;
use super::plan::DeliveryResult;
use crate::envelope::Envelope;
use crate::seal::{OpenError, Opener};
use crate::topology::{HANDLE_ALONE_FROM, PARK_FROM, WorkQueue};
use crate::wire::Body;

/// A delivery as the broker sent it, kept until it is settled.
pub(super) struct RawDelivery {
    pub delivery: lapin::message::Delivery,
    pub queue: WorkQueue,
    /// How often the broker delivered the message before.
    pub redeliveries: u64,
    /// Present when the bytes parse as an envelope; its seal may still be invalid.
    pub envelope: Option<Envelope>,
}

/// Where a delivery goes next.
pub(super) enum Triaged<B> {
    Handle(Box<Delivery<B>>),
    HandleAlone(Box<Delivery<B>>),
    Decided(DeliveryResult),
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

    pub fn triage<B: Body>(&self, opener: &Opener) -> Triaged<B> {
        if self.redeliveries >= PARK_FROM {
            let text = format!("came back {} times without being settled", self.redeliveries);
            return Triaged::Decided(DeliveryResult::park("crash_loop", text));
        }
        let opened = match opener.open(self.queue, &self.delivery.data) {
            Ok(opened) => opened,
            Err(error) => return Triaged::Decided(result_for_error(&error)),
        };
        let body = match opened.body::<B>() {
            Ok(body) => body,
            Err(error) => return Triaged::Decided(result_for_error(&error)),
        };
        let hints = opened.hints();
        let delivery = Box::new(Delivery {
            body,
            message_id: opened.message_id(),
            causation_id: opened.causation_id(),
            intent_id: opened.intent_id(),
            attempt: hints.attempt,
            first_seen: hints.first_seen,
            traceparent: hints.traceparent.clone(),
            redelivered: self.delivery.redelivered,
            sealed: self.delivery.data.clone(),
        });
        if self.redeliveries >= HANDLE_ALONE_FROM {
            Triaged::HandleAlone(delivery)
        } else {
            Triaged::Handle(delivery)
        }
    }
}

fn result_for_error(error: &OpenError) -> DeliveryResult {
    match error {
        OpenError::Malformed(_) => DeliveryResult::park("malformed", error.to_string()),
        OpenError::SealInvalid => DeliveryResult::park("seal_invalid", error.to_string()),
        OpenError::UnknownKid { .. } => DeliveryResult::AwaitKey(error.to_string()),
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

pub(crate) fn unsigned_integer(value: &AMQPValue) -> Option<u64> {
    match value {
        AMQPValue::ShortShortInt(n) => u64::try_from(*n).ok(),
        AMQPValue::ShortShortUInt(n) => Some(u64::from(*n)),
        AMQPValue::ShortInt(n) => u64::try_from(*n).ok(),
        AMQPValue::ShortUInt(n) => Some(u64::from(*n)),
        AMQPValue::LongInt(n) => u64::try_from(*n).ok(),
        AMQPValue::LongUInt(n) => Some(u64::from(*n)),
        AMQPValue::LongLongInt(n) => u64::try_from(*n).ok(),
        AMQPValue::Timestamp(n) => Some(*n),
        _ => None,
    }
}
