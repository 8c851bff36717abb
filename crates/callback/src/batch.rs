//! Handles a batch of deliveries. Each message has its own transaction, so that none can fail another. Messages of one
//! txRef keep their order, different txRefs run concurrently.

use std::collections::{BTreeMap, HashSet};
use std::future::Future;
use std::sync::Arc;

use domain::ids::MessageId;
use futures_util::StreamExt;
use futures_util::stream;
use messaging::wire::Body;
use messaging::{Delivery, Disposition};
use runtime::breaker::Breaker;
use runtime::telemetry;
use tracing::Instrument;

use crate::state::{AppState, HandlerError};

/// Maximum number of concurrent transactions per queue; the pool has enough for both queues and the sweeps.
const MAX_CONCURRENT: usize = 3;
/// Maximum number of tries of a transaction that conflicts with another.
const MAX_TRIES: u32 = 3;

/// The messages of one txRef, with their positions in the batch.
type DeliveryGroup<B> = Vec<(usize, Arc<Delivery<B>>)>;

/// The message was handled before: the inbox took in no id of it as new.
pub fn is_redelivery(new: &HashSet<MessageId>) -> bool {
    new.is_empty()
}

/// A message that this service handles.
pub trait Handled: Body + Send + Sync + 'static {
    /// The txRef by which messages are grouped. It is not verified, so it is used for nothing else.
    fn tx_ref(delivery: &Delivery<Self>) -> String;

    fn handle(
        state: Arc<AppState>,
        delivery: Arc<Delivery<Self>>,
    ) -> impl Future<Output = Result<Disposition, HandlerError>> + Send;
}

pub async fn handle_batch<B: Handled>(
    state: Arc<AppState>,
    breaker: Breaker,
    deliveries: Vec<Delivery<B>>,
) -> Vec<Disposition> {
    let count = deliveries.len();
    let mut groups: BTreeMap<String, DeliveryGroup<B>> = BTreeMap::new();
    for (at, delivery) in deliveries.into_iter().enumerate() {
        groups
            .entry(B::tx_ref(&delivery))
            .or_default()
            .push((at, Arc::new(delivery)));
    }
    let done = stream::iter(groups.into_iter().map(|(about, group)| {
        let (state, breaker) = (state.clone(), breaker.clone());
        async move {
            let mut settled = Vec::with_capacity(group.len());
            for (at, delivery) in group {
                let disposition = if breaker.is_open() {
                    Disposition::Return
                } else {
                    handle_one(&state, &breaker, &about, delivery).await
                };
                settled.push((at, disposition));
            }
            settled
        }
    }))
    .buffer_unordered(MAX_CONCURRENT)
    .collect::<Vec<_>>()
    .await;
    let mut dispositions = vec![Disposition::Return; count];
    for (at, disposition) in done.into_iter().flatten() {
        dispositions[at] = disposition;
    }
    dispositions
}

async fn handle_one<B: Handled>(
    state: &Arc<AppState>,
    breaker: &Breaker,
    about: &str,
    delivery: Arc<Delivery<B>>,
) -> Disposition {
    let span = tracing::info_span!(
        "callback.handle",
        otel.kind = "consumer",
        queue = B::QUEUE.name(),
        tx_ref = about,
        message_id = %delivery.message_id,
        intent_id = delivery.intent_id.map(tracing::field::display),
        trace_id = tracing::field::Empty,
    );
    telemetry::continue_trace(&span, delivery.traceparent.as_deref());
    async {
        let mut tries = 1;
        loop {
            match B::handle(state.clone(), delivery.clone()).await {
                Ok(disposition) => {
                    breaker.success();
                    return disposition;
                }
                Err(error) if error.is_contention() && tries < MAX_TRIES => tries += 1,
                Err(error) => {
                    tracing::warn!(error = %domain::error_chain(&error), attempt = delivery.attempt, "message not handled");
                    if error.is_outage() {
                        breaker.failure("the database is away");
                    }
                    return error.disposition();
                }
            }
        }
    }
    .instrument(span)
    .await
}
