//! The only place that acknowledges anything.

use std::time::Duration;

use futures_util::future::join_all;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};
use tokio_util::sync::CancellationToken;

use super::plan::{Context, Copy, Step, Verdict, plan};
use super::triage::Raw;
use super::{ConsumerParts, pause};
use crate::connection::backoff;
use crate::observe;

/// What one delivery comes to once its copy, if it needed one, is stored.
enum Final {
    Ack(&'static str),
    Requeue,
    Reject,
}

/// Settles a batch: copies are published together and confirmed, then each delivery is acknowledged, returned
/// or rejected. Waits as long as the broker refuses a copy (a full dead queue must hold work up, not lose it),
/// until shutdown or until the deliveries' channel is gone. Never fails: what could not be settled comes again.
pub(super) async fn settle(batch: Vec<(Raw, Verdict)>, parts: &ConsumerParts, shutdown: &CancellationToken) {
    let ctx = Context {
        retry: &parts.retry,
        now: parts.clock.now(),
        service: parts.broker.service().name(),
        version: parts.broker.version(),
    };
    let mut finals = Vec::with_capacity(batch.len());
    let mut copies = Vec::new();
    for (raw, verdict) in batch {
        match plan(&raw, verdict, &ctx) {
            Step::Ack => finals.push((raw, Final::Ack("done"))),
            Step::Requeue => finals.push((raw, Final::Requeue)),
            Step::Reject => finals.push((raw, Final::Reject)),
            Step::CopyThenAck(copy, kind) => copies.push((raw, *copy, kind)),
        }
    }
    finals.extend(store_copies(copies, parts, shutdown).await);
    join_all(finals.into_iter().map(finish)).await;
}

async fn store_copies(
    mut waiting: Vec<(Raw, crate::publish::Outgoing, Copy)>,
    parts: &ConsumerParts,
    shutdown: &CancellationToken,
) -> Vec<(Raw, Final)> {
    let mut stored = Vec::with_capacity(waiting.len());
    let mut failures = 0;
    while !waiting.is_empty() {
        let copies = waiting.iter().map(|(_, copy, _)| copy.clone()).collect();
        let results = parts.publisher.publish_many(copies).await;
        let mut left = Vec::new();
        for ((raw, copy, kind), result) in waiting.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    let result = note(&raw, kind);
                    stored.push((raw, Final::Ack(result)));
                }
                Err(_) => left.push((raw, copy, kind)),
            }
        }
        waiting = left;
        let hopeless =
            shutdown.is_cancelled() || waiting.iter().any(|(raw, ..)| !raw.delivery.acker.usable());
        if hopeless {
            stored.extend(waiting.drain(..).map(|(raw, ..)| (raw, Final::Requeue)));
        } else if !waiting.is_empty() {
            pause(backoff(failures).min(Duration::from_secs(5)), shutdown).await;
            failures += 1;
        }
    }
    stored
}

/// Counts and logs a stored copy, once, where the outcome is certain.
fn note(raw: &Raw, kind: Copy) -> &'static str {
    let attempt = raw.envelope.as_ref().map_or(0, |e| e.attempt);
    let id = raw.message_id().map(|id| id.to_string()).unwrap_or_default();
    match kind {
        Copy::Retry => {
            observe::retried(raw.queue);
            tracing::info!(queue = %raw.queue, message_id = id, attempt, "message will be retried");
            "retried"
        }
        Copy::Park(class) => {
            observe::parked(raw.queue, class);
            tracing::error!(queue = %raw.queue, message_id = id, attempt, class, "message parked");
            "parked"
        }
        Copy::Return => "returned",
    }
}

async fn finish((raw, end): (Raw, Final)) {
    let acker = &raw.delivery.acker;
    let (result, sent) = match end {
        Final::Ack(result) => (result, acker.ack(BasicAckOptions::default()).await),
        Final::Requeue => (
            "returned",
            acker
                .nack(BasicNackOptions {
                    requeue: true,
                    ..Default::default()
                })
                .await,
        ),
        Final::Reject => (
            "crashed",
            acker.reject(BasicRejectOptions { requeue: true }).await,
        ),
    };
    // A delivery whose channel died is handed out again; its effect, if any, is in the inbox.
    let result = if matches!(sent, Ok(true)) { result } else { "lost" };
    observe::settled(raw.queue, result);
}
