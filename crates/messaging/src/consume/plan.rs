//! What settling a delivery takes: a pure function from the verdict and the facts of the delivery.

use std::time::Duration;

use domain::retry::{RetryDecision, RetryPolicy};
use time::OffsetDateTime;

use super::triage::Raw;
use super::{Disposition, Failure};
use crate::dead_letters::entry::{self, Story};
use crate::publish::{Outgoing, Route};
use crate::topology::{DEAD_EXCHANGE, RETRY_STEPS, retry_exchange};

/// How an orderly return is done: RabbitMQ 3.10 counts each as a failed delivery, so from this many on the
/// message goes round by a delay queue instead, which starts the count anew. Without it a breaker that opens
/// and closes for an hour would park healthy messages.
const RETURN_BY_COPY_FROM: u64 = 2;
const RETURN_DELAY: Duration = Duration::from_secs(1);
/// A message under a key we do not hold waits this long for the key, then it is parked.
const AWAIT_KEY_FOR: time::Duration = time::Duration::hours(24);
const LATER_MIN: Duration = Duration::from_secs(1);
const LATER_MAX: Duration = Duration::from_secs(30);

/// What was decided about one delivery.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    Settle(Disposition),
    /// The handler panicked or broke its contract.
    Crashed,
    /// Sealed under a key we do not hold.
    AwaitKey(String),
}

impl Verdict {
    pub fn park(class: &'static str, text: String) -> Self {
        Self::Settle(Disposition::park(class, text))
    }
}

/// What is done about it at the broker.
#[derive(Debug)]
pub(super) enum Step {
    Ack,
    /// Publish, wait for the confirm, then ack.
    CopyThenAck(Box<Outgoing>, Copy),
    /// Back to the queue, not counted as a failure where the broker can tell (`basic.nack`).
    Requeue,
    /// Back to the queue, counted as a failure (`basic.reject`).
    Reject,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copy {
    Retry,
    Park(&'static str),
    Return,
}

pub(super) struct Context<'a> {
    pub retry: &'a RetryPolicy,
    pub now: OffsetDateTime,
    pub service: &'static str,
    pub version: &'a str,
}

pub(super) fn plan(raw: &Raw, verdict: Verdict, ctx: &Context<'_>) -> Step {
    match verdict {
        Verdict::Settle(Disposition::Done) => Step::Ack,
        Verdict::Settle(Disposition::Retry(failure)) => retry(raw, &failure, ctx),
        Verdict::Settle(Disposition::Park(failure)) => park(raw, &failure, ctx),
        Verdict::Settle(Disposition::Return) if raw.redeliveries < RETURN_BY_COPY_FROM => Step::Requeue,
        Verdict::Settle(Disposition::Return) => again(raw, RETURN_DELAY, ctx),
        Verdict::Settle(Disposition::Later) => again(raw, patience(raw, ctx), ctx),
        Verdict::Crashed => Step::Reject,
        Verdict::AwaitKey(text) => await_key(raw, text, ctx),
    }
}

fn retry(raw: &Raw, failure: &Failure, ctx: &Context<'_>) -> Step {
    let Some(envelope) = &raw.envelope else {
        return park(raw, failure, ctx);
    };
    match ctx.retry.after_failure(envelope.message_id, envelope.attempt) {
        RetryDecision::GiveUp => park(raw, failure, ctx),
        RetryDecision::RetryAfter(wait) => {
            let step = envelope.attempt;
            let next = step.saturating_add(1);
            delayed(raw, next, step, wait, ctx).map_or_else(
                || park(raw, failure, ctx),
                |copy| Step::CopyThenAck(Box::new(copy), Copy::Retry),
            )
        }
    }
}

fn park(raw: &Raw, failure: &Failure, ctx: &Context<'_>) -> Step {
    let copy = Outgoing {
        exchange: Route::Named(DEAD_EXCHANGE.to_owned()),
        routing_key: raw.queue.name().to_owned(),
        message_id: raw.message_id(),
        expiration: None,
        headers: entry::headers(
            raw.queue,
            raw.envelope.as_ref(),
            &Story {
                class: failure.class,
                text: &failure.text,
                attempts: raw.envelope.as_ref().map_or(0, |e| e.attempt.into()),
                last_tx_hash: failure.last_tx_hash,
            },
            ctx.now,
            (ctx.service, ctx.version),
        ),
        payload: entry::bounded_payload(&raw.delivery.data),
    };
    Step::CopyThenAck(Box::new(copy), Copy::Park(failure.class))
}

/// Goes round by a delay queue with the same attempt.
fn again(raw: &Raw, wait: Duration, ctx: &Context<'_>) -> Step {
    let Some(envelope) = &raw.envelope else {
        return Step::Requeue;
    };
    let copy = delayed(raw, envelope.attempt, step_for(wait, ctx.retry), wait, ctx);
    copy.map_or(Step::Requeue, |copy| {
        Step::CopyThenAck(Box::new(copy), Copy::Return)
    })
}

fn await_key(raw: &Raw, text: String, ctx: &Context<'_>) -> Step {
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
    again(raw, patience(raw, ctx), ctx)
}

fn age(raw: &Raw, ctx: &Context<'_>) -> time::Duration {
    let first_seen = raw.envelope.as_ref().map(|e| e.first_seen);
    first_seen.map(|at| ctx.now - at).unwrap_or_default()
}

/// Half the message's age, within bounds.
fn patience(raw: &Raw, ctx: &Context<'_>) -> Duration {
    let half = Duration::try_from(age(raw, ctx) / 2).unwrap_or_default();
    half.clamp(LATER_MIN, LATER_MAX)
}

/// A copy for the delay queues. Headers and properties start empty: a copied `x-death` would let the broker
/// see a cycle and drop the message.
fn delayed(raw: &Raw, attempt: u32, step: u32, wait: Duration, ctx: &Context<'_>) -> Option<Outgoing> {
    let mut envelope = raw.envelope.clone()?;
    envelope.attempt = attempt;
    // A first-seen time from the future would keep a message for ever.
    envelope.first_seen = envelope.first_seen.min(ctx.now);
    let payload = serde_json::to_vec(&envelope).ok()?;
    Some(Outgoing {
        exchange: Route::Named(retry_exchange(step)),
        routing_key: raw.queue.name().to_owned(),
        message_id: Some(envelope.message_id),
        expiration: Some(wait),
        headers: Vec::new(),
        payload,
    })
}

/// The delay queue whose usual waits are nearest: expiry happens at a queue's head only.
fn step_for(wait: Duration, retry: &RetryPolicy) -> u32 {
    let ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let base = |n: u32| retry.base_ms.saturating_mul(1 << (n - 1)).min(retry.cap_ms);
    (1..=RETRY_STEPS).find(|n| base(*n) >= ms).unwrap_or(RETRY_STEPS)
}

#[cfg(test)]
mod tests;
