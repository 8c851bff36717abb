//! The first checks of a delivery: how often it was redelivered, and whether its seal and body are valid.

use super::delivery::{Delivery, RawDelivery};
use super::disposition::DeliveryResult;
use crate::seal::{OpenError, Opener};
use crate::wire::Body;

/// Number of redeliveries after which a message is handled alone.
const HANDLE_ALONE_FROM: u64 = 3;
/// Number of redeliveries after which we park a message.
const PARK_FROM: u64 = 20;

/// Where a delivery goes next.
pub(super) enum Triaged<B> {
    Handle(Box<Delivery<B>>),
    HandleAlone(Box<Delivery<B>>),
    Decided(DeliveryResult),
}

pub(super) fn triage<B: Body>(raw: &RawDelivery, opener: &Opener) -> Triaged<B> {
    if raw.redeliveries >= PARK_FROM {
        let text = format!("came back {} times without being settled", raw.redeliveries);
        return Triaged::Decided(DeliveryResult::park("crash_loop", text));
    }
    let opened = match opener.open(raw.queue, &raw.delivery.data) {
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
        redelivered: raw.delivery.redelivered,
        sealed: raw.delivery.data.clone(),
    });
    if raw.redeliveries >= HANDLE_ALONE_FROM {
        Triaged::HandleAlone(delivery)
    } else {
        Triaged::Handle(delivery)
    }
}

fn result_for_error(error: &OpenError) -> DeliveryResult {
    match error {
        OpenError::Malformed(_) => DeliveryResult::park("malformed", error.to_string()),
        OpenError::SealInvalid => DeliveryResult::park("seal_invalid", error.to_string()),
        OpenError::UnknownKid { .. } => DeliveryResult::AwaitKey(error.to_string()),
    }
}
