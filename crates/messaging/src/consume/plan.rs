//! Which broker action settles a delivery: a pure function of the delivery and its result.

use std::time::Duration;

use domain::retry::{RetryDecision, RetryPolicy};
use time::OffsetDateTime;

use super::delivery::RawDelivery;
use super::disposition::{DeliveryResult, Disposition, Failure};
use crate::failure_report::{FailureReport, truncate_payload};
use crate::names::RETRY_STEPS;
use crate::publish::Outgoing;

/// From this many redeliveries on, a returned message goes through a delay queue, which resets the broker's count.
/// RabbitMQ 3.10 counts every return as a failed delivery, so without this rule a breaker that opens and closes for an
/// hour would park healthy messages.
const RETURN_VIA_DELAY_FROM: u64 = 2;
const RETURN_DELAY: Duration = Duration::from_secs(1);
/// How long a message sealed under an unknown key waits for that key before it is parked.
const AWAIT_KEY_FOR: time::Duration = time::Duration::hours(24);
const DEFERRAL_MIN: Duration = Duration::from_secs(1);
const DEFERRAL_MAX: Duration = Duration::from_secs(30);

/// The action at the broker that settles a delivery.
#[derive(Debug)]
pub(super) enum BrokerAction {
    Ack,
    /// Publishes a copy, waits for its confirm, then acknowledges the original.
    CopyThenAck(Box<Outgoing>, CopyKind),
    /// Returns the message to its queue (`basic.nack`); newer brokers do not count this as a failure.
    Requeue,
    /// Returns the message to its queue and counts as a failure (`basic.reject`).
    Reject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CopyKind {
    Retry,
    Park(&'static str),
    Return,
}

pub(super) struct SettlementContext<'a> {
    pub retry: &'a RetryPolicy,
    pub now: OffsetDateTime,
    pub service: &'static str,
    pub version: &'a str,
}

pub(super) fn plan(raw: &RawDelivery, result: DeliveryResult, ctx: &SettlementContext<'_>) -> BrokerAction {
    match result {
        DeliveryResult::Settle(Disposition::Done) => BrokerAction::Ack,
        DeliveryResult::Settle(Disposition::Retry(failure)) => retry(raw, &failure, ctx),
        DeliveryResult::Settle(Disposition::Park(failure)) => park(raw, &failure, ctx),
        DeliveryResult::Settle(Disposition::Return) if raw.redeliveries < RETURN_VIA_DELAY_FROM => {
            BrokerAction::Requeue
        }
        DeliveryResult::Settle(Disposition::Return) => return_via_delay_queue(raw, RETURN_DELAY, ctx),
        DeliveryResult::Settle(Disposition::Defer) => {
            return_via_delay_queue(raw, deferral_delay(raw, ctx), ctx)
        }
        DeliveryResult::Crashed => BrokerAction::Reject,
        DeliveryResult::AwaitKey(text) => await_key(raw, text, ctx),
    }
}

fn retry(raw: &RawDelivery, failure: &Failure, ctx: &SettlementContext<'_>) -> BrokerAction {
    let Some(envelope) = &raw.envelope else {
        return park(raw, failure, ctx);
    };
    match ctx.retry.after_failure(envelope.message_id, envelope.attempt) {
        RetryDecision::GiveUp => park(raw, failure, ctx),
        RetryDecision::RetryAfter(wait) => {
            let step = envelope.attempt;
            let next = step.saturating_add(1);
            delayed_copy(raw, next, step, wait, ctx).map_or_else(
                || park(raw, failure, ctx),
                |copy| BrokerAction::CopyThenAck(Box::new(copy), CopyKind::Retry),
            )
        }
    }
}

fn park(raw: &RawDelivery, failure: &Failure, ctx: &SettlementContext<'_>) -> BrokerAction {
    let report = FailureReport {
        class: failure.class,
        text: &failure.text,
        attempts: raw.envelope.as_ref().map_or(0, |e| e.attempt.into()),
        last_tx_hash: failure.last_tx_hash,
        failed_at: ctx.now,
        service: ctx.service,
        version: ctx.version,
    };
    let headers = report.headers(raw.queue, raw.envelope.as_ref());
    let payload = truncate_payload(&raw.delivery.data);
    let copy = Outgoing::dead_letter(raw.queue, raw.message_id(), headers, payload);
    BrokerAction::CopyThenAck(Box::new(copy), CopyKind::Park(failure.class))
}

/// Sends the message through a delay queue, with its attempt number unchanged.
fn return_via_delay_queue(raw: &RawDelivery, wait: Duration, ctx: &SettlementContext<'_>) -> BrokerAction {
    let Some(envelope) = &raw.envelope else {
        return BrokerAction::Requeue;
    };
    let copy = delayed_copy(
        raw,
        envelope.attempt,
        nearest_delay_step(wait, ctx.retry),
        wait,
        ctx,
    );
    copy.map_or(BrokerAction::Requeue, |copy| {
        BrokerAction::CopyThenAck(Box::new(copy), CopyKind::Return)
    })
}

fn await_key(raw: &RawDelivery, text: String, ctx: &SettlementContext<'_>) -> BrokerAction {
    if age(raw, ctx) > AWAIT_KEY_FOR {
        return park(
            raw,
            &Failure {
                class: "unknown_key",
                text,
                last_tx_hash: None,
            },
            ctx,
        );
    }
    return_via_delay_queue(raw, deferral_delay(raw, ctx), ctx)
}

fn age(raw: &RawDelivery, ctx: &SettlementContext<'_>) -> time::Duration {
    let first_seen = raw.envelope.as_ref().map(|e| e.first_seen);
    first_seen.map(|at| ctx.now - at).unwrap_or_default()
}

/// Half of the message's age, within the limits.
fn deferral_delay(raw: &RawDelivery, ctx: &SettlementContext<'_>) -> Duration {
    let half = Duration::try_from(age(raw, ctx) / 2).unwrap_or_default();
    half.clamp(DEFERRAL_MIN, DEFERRAL_MAX)
}

/// A copy for the delay queues.
fn delayed_copy(
    raw: &RawDelivery,
    attempt: u32,
    step: u32,
    wait: Duration,
    ctx: &SettlementContext<'_>,
) -> Option<Outgoing> {
    let mut envelope = raw.envelope.clone()?;
    envelope.attempt = attempt;
    // A first-seen time in the future would keep the message waiting forever.
    envelope.first_seen = envelope.first_seen.min(ctx.now);
    Outgoing::delayed(raw.queue, &envelope, step, wait).ok()
}

/// The delay queue whose usual waits are closest to `wait`. A queue expires only its first message, so one long wait
/// would delay all shorter ones behind it.
fn nearest_delay_step(wait: Duration, retry: &RetryPolicy) -> u32 {
    (1..=RETRY_STEPS)
        .find(|n| retry.usual_delay(*n) >= wait)
        .unwrap_or(RETRY_STEPS)
}

#[cfg(test)]
mod tests;
