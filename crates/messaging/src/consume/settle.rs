//! The only place that acknowledges deliveries.

use futures_util::future::join_all;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use tokio_util::sync::CancellationToken;

use super::delivery::RawDelivery;
use super::disposition::DeliveryResult;
use super::parts::ConsumerParts;
use super::plan::{BrokerAction, CopyKind, SettlementContext, plan};
use crate::backoff::{BACKOFF, sleep_or_shutdown};
use crate::observe;
use crate::publish::Outgoing;

/// How a delivery is acknowledged, once its copy, if it needed one, is stored.
enum Acknowledgement {
    Ack(&'static str),
    Requeue,
    Reject,
}

/// Settles a batch: publishes all copies together and awaits their confirms, then acknowledges, returns or rejects each
/// delivery. While the broker refuses a copy it keeps trying, because a full dead-letter queue must block work rather
/// than lose it; it stops at shutdown or when the deliveries' channel is closed. It never fails: the broker redelivers
/// what could not be settled.
pub(super) async fn settle(
    batch: Vec<(RawDelivery, DeliveryResult)>,
    parts: &ConsumerParts,
    shutdown: &CancellationToken,
) {
    let ctx = SettlementContext {
        retry: &parts.retry,
        now: parts.clock.now(),
        service: parts.broker.service().name(),
        version: parts.broker.version(),
    };
    let mut finals = Vec::with_capacity(batch.len());
    let mut copies = Vec::new();
    for (raw, result) in batch {
        match plan(&raw, result, &ctx) {
            BrokerAction::Ack => finals.push((raw, Acknowledgement::Ack("done"))),
            BrokerAction::Requeue => finals.push((raw, Acknowledgement::Requeue)),
            BrokerAction::Reject => finals.push((raw, Acknowledgement::Reject)),
            BrokerAction::CopyThenAck(copy, kind) => copies.push((raw, *copy, kind)),
        }
    }
    finals.extend(store_copies(copies, parts, shutdown).await);
    join_all(finals.into_iter().map(|(raw, end)| acknowledge(raw, end))).await;
}

async fn store_copies(
    mut waiting: Vec<(RawDelivery, Outgoing, CopyKind)>,
    parts: &ConsumerParts,
    shutdown: &CancellationToken,
) -> Vec<(RawDelivery, Acknowledgement)> {
    let mut stored = Vec::with_capacity(waiting.len());
    let mut failures = 0;
    while !waiting.is_empty() {
        let copies = waiting.iter().map(|(_, copy, _)| copy.clone()).collect();
        let results = parts.publisher.publish_many(copies).await;
        let mut left = Vec::new();
        for ((raw, copy, kind), result) in waiting.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    let result = record_copy(&raw, kind);
                    stored.push((raw, Acknowledgement::Ack(result)));
                }
                Err(_) => left.push((raw, copy, kind)),
            }
        }
        waiting = left;
        let gives_up =
            shutdown.is_cancelled() || waiting.iter().any(|(raw, ..)| !raw.delivery.acker.usable());
        if gives_up {
            stored.extend(waiting.drain(..).map(|(raw, ..)| (raw, Acknowledgement::Requeue)));
        } else if !waiting.is_empty() {
            sleep_or_shutdown(BACKOFF.wait(failures), shutdown).await;
            failures += 1;
        }
    }
    stored
}

/// Counts and logs a stored copy, here because the result is now certain.
fn record_copy(raw: &RawDelivery, kind: CopyKind) -> &'static str {
    let attempt = raw.envelope.as_ref().map_or(0, |e| e.attempt);
    let id = raw.message_id().map(|id| id.to_string()).unwrap_or_default();
    match kind {
        CopyKind::Retry => {
            observe::retried(raw.queue);
            tracing::info!(queue = %raw.queue, message_id = id, attempt, "message will be retried");
            "retried"
        }
        CopyKind::Park(class) => {
            observe::parked(raw.queue, class);
            tracing::error!(queue = %raw.queue, message_id = id, attempt, class, "message parked");
            "parked"
        }
        CopyKind::Return => "returned",
    }
}

async fn acknowledge(raw: RawDelivery, end: Acknowledgement) {
    let acker = &raw.delivery.acker;
    let (result, sent) = match end {
        Acknowledgement::Ack(result) => (result, acker.ack(BasicAckOptions::default()).await),
        Acknowledgement::Requeue => (
            "returned",
            acker
                .nack(BasicNackOptions {
                    requeue: true,
                    ..Default::default()
                })
                .await,
        ),
        Acknowledgement::Reject => (
            "crashed",
            acker.reject(BasicRejectOptions { requeue: true }).await,
        ),
    };
    // The broker redelivers a message whose channel was lost; the inbox knows whether its effect exists.
    let result = if matches!(sent, Ok(true)) { result } else { "lost" };
    observe::settled(raw.queue, result);
}
