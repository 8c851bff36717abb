//! The first look at a delivery: how often it came, whether its seal and shape are right.

use domain::ids::MessageId;
use lapin::types::AMQPValue;

use super::Delivery;
use super::plan::Verdict;
use crate::envelope::Envelope;
use crate::seal::{OpenError, Opener};
use crate::topology::{HANDLE_ALONE_FROM, PARK_FROM, WorkQueue};
use crate::wire::Body;

/// A delivery as it came, kept until it is settled.
pub(super) struct Raw {
    pub delivery: lapin::message::Delivery,
    pub queue: WorkQueue,
    /// How often the broker handed it out before.
    pub redeliveries: u64,
    /// Present when the bytes are an envelope at all; its seal may still be wrong.
    pub envelope: Option<Envelope>,
}

/// Where a delivery goes next.
pub(super) enum Triaged<B> {
    Handle(Box<Delivery<B>>),
    HandleAlone(Box<Delivery<B>>),
    Decided(Verdict),
}

impl Raw {
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
            return Triaged::Decided(Verdict::park("crash_loop", text));
        }
        let opened = match opener.open(self.queue, &self.delivery.data) {
            Ok(opened) => opened,
            Err(error) => return Triaged::Decided(refusal(&error)),
        };
        let body = match opened.body::<B>() {
            Ok(body) => body,
            Err(error) => return Triaged::Decided(refusal(&error)),
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

fn refusal(error: &OpenError) -> Verdict {
    match error {
        OpenError::Malformed(_) => Verdict::park("malformed", error.to_string()),
        OpenError::SealInvalid => Verdict::park("seal_invalid", error.to_string()),
        OpenError::UnknownKid { .. } => Verdict::AwaitKey(error.to_string()),
    }
}

/// 3.10 counts every return in `x-delivery-count`; later brokers count failures there and every hand-out in
/// `x-acquired-count`.
fn redeliveries(delivery: &lapin::message::Delivery) -> u64 {
    let Some(headers) = delivery.properties.headers() else {
        return 0;
    };
    let count = |name: &str| headers.inner().get(name).and_then(whole_number).unwrap_or(0);
    count("x-delivery-count").max(count("x-acquired-count"))
}

pub(crate) fn whole_number(value: &AMQPValue) -> Option<u64> {
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
