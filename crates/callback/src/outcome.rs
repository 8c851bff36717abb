//! `mint.outcome`: what the chain says, and what follows.

use std::sync::Arc;

use messaging::wire::MintOutcome;
use messaging::{Delivery, Disposition, WorkQueue};
use storage::Inbox;

use crate::case::{Because, Case};
use crate::desk::{Desk, DeskError};
use crate::judge::judge_outcome;
use crate::observe;

pub fn tx_ref(delivery: &Delivery<MintOutcome>) -> String {
    delivery.body.intent.tx_ref.to_string()
}

pub async fn handle(desk: Arc<Desk>, delivery: Arc<Delivery<MintOutcome>>) -> Result<Disposition, DeskError> {
    let outcome = &delivery.body;
    let mut client = desk.pool.get().await?;
    let tx = client.begin().await?;
    let new = Inbox::Callback
        .insert_new(&tx, WorkQueue::MintOutcome.name(), &[delivery.message_id])
        .await?;
    if new.is_empty() {
        return Ok(Disposition::Done);
    }
    let because = Because {
        cause: WorkQueue::MintOutcome.name(),
        message_id: Some(delivery.message_id),
    };
    let mut case = Case::open(&desk, &tx, &outcome.intent.tx_ref, because).await?;
    case.bind(outcome.intent.intent_id());
    let told = judge_outcome(case.told(), outcome);
    if let Some(told) = told {
        case.set_chain(told).await?;
        case.match_first().await?;
    }
    // Also without news: whatever is missing is made up for.
    case.settle().await?;
    let closed = case.close().await?;
    tx.commit().await?;
    closed.announce(&desk);
    observe::outcome(outcome.outcome, told.is_some());
    Ok(Disposition::Done)
}
