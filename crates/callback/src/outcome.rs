//! Handles `mint.outcome`: applies what happened on chain and decides the next step.

use std::sync::Arc;

use messaging::wire::MintOutcome;
use messaging::{Delivery, Disposition, WorkQueue};
use storage::Inbox;

use crate::batch::{Handled, is_redelivery};
use crate::classify::classify_outcome;
use crate::locked_decision::{LockedDecision, Trigger};
use crate::observe;
use crate::state::{AppState, HandlerError};

impl Handled for MintOutcome {
    fn tx_ref(delivery: &Delivery<Self>) -> String {
        delivery.body.intent.tx_ref.to_string()
    }

    async fn handle(
        state: Arc<AppState>,
        delivery: Arc<Delivery<Self>>,
    ) -> Result<Disposition, HandlerError> {
        handle(state, delivery).await
    }
}

pub async fn handle(
    state: Arc<AppState>,
    delivery: Arc<Delivery<MintOutcome>>,
) -> Result<Disposition, HandlerError> {
    let outcome = &delivery.body;
    let mut client = state.pool.get().await?;
    let tx = client.begin().await?;
    let new = Inbox::Callback
        .insert_new(&tx, WorkQueue::MintOutcome.name(), &[delivery.message_id])
        .await?;
    if is_redelivery(&new) {
        return Ok(Disposition::Done);
    }
    let trigger = Trigger {
        cause: WorkQueue::MintOutcome.name(),
        message_id: Some(delivery.message_id),
    };
    let mut locked = LockedDecision::open(&state, &tx, &outcome.intent.tx_ref, trigger).await?;
    locked.bind_intent(outcome.intent.intent_id());
    let reported = classify_outcome(locked.reported_leg(), outcome);
    if let Some(reported) = reported {
        locked.set_chain(reported).await?;
        locked.match_waiting_payment().await?;
    }
    // Decides even if the outcome is not new, in case an earlier step is missing.
    locked.decide().await?;
    let after_commit = locked.save().await?;
    tx.commit().await?;
    after_commit.run(&state);
    observe::outcome(outcome.outcome, reported.is_some());
    Ok(Disposition::Done)
}
