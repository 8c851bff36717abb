//! Cancels intents whose deposit was never sent, or may not be sent any more, unless the chain has a record of them.

use std::time::Duration;

use chain::BlockRef;
use domain::command::WorkItemState;
use domain::ids::{IntentId, MessageId};
use domain::intent::{Cause, ChainLeg};
use domain::item_result::LegReason;
use messaging::wire::Outcome;
use storage::executor::items::WorkItemChange;
use storage::executor::legs::{ChainLegRow, TransitionReason};
use storage::executor::signers::SignerLease;
use storage::executor::{attempts, items, legs, signers};

use crate::context::{Context, WorkError};
use crate::outcome;
use crate::rules::next_step::{OnChainRecord, leg_for_record};

/// Delay of an item whose attempts are not final.
const NOT_FINAL_WAIT: Duration = Duration::from_secs(1);

/// An intent to cancel, with the item that asks for it, if there is one.
pub type CancelRequest = (Option<MessageId>, IntentId);

/// Reads the records on chain, then updates items and legs in one transaction.
pub async fn cancel_intents(
    ctx: &Context,
    lease: &SignerLease,
    wanted: &[CancelRequest],
) -> Result<(), WorkError> {
    let ids: Vec<IntentId> = wanted.iter().map(|(_, id)| *id).collect();
    // Read at the ingested block: an endpoint without that block cannot prove that a record is absent.
    let head = (*ctx.head.borrow()).ok_or(WorkError::NoHead)?;
    let records = ctx.chain.intents(&ids, BlockRef::Hash(head.hash)).await?;
    let mut client = ctx.pool.get().await?;
    let tx = client.begin().await?;
    signers::check(&tx, lease).await?.ok_or(WorkError::NoLease)?;
    let messages: Vec<MessageId> = wanted.iter().filter_map(|(id, _)| *id).collect();
    items::lock(&tx, &messages).await?;
    let mut rows = legs::lock(&tx, &ids).await?;
    let not_final = attempts::not_final(&tx, &ids).await?;
    let mut changes = Vec::new();
    for (index, (message, id)) in wanted.iter().enumerate() {
        let Some(leg) = rows.iter_mut().find(|leg| leg.intent_id == *id) else {
            continue;
        };
        let record = match records.get(index).and_then(Option::as_ref) {
            Some(found) => OnChainRecord::Present(found.status),
            None => OnChainRecord::Absent,
        };
        // An intent with an attempt that may still be mined, or mined again after a fork, is not cancelled.
        if not_final.contains(id) {
            changes.extend(message.map(|message| {
                let wait =
                    WorkItemChange::to(message, WorkItemState::Ready).with_reason("a deposit is not final");
                wait.delayed_by(NOT_FINAL_WAIT)
            }));
            continue;
        }
        if cancel_leg(leg, record, *message, head.number)? {
            changes.extend(
                message.map(|message| WorkItemChange::to(message, WorkItemState::Done).with_reason("undone")),
            );
        }
    }
    items::update(&tx, &changes).await?;
    let outcomes: Vec<(&ChainLegRow, Outcome)> = rows
        .iter()
        .filter(|leg| leg.is_changed())
        .filter_map(|leg| Some((leg, outcome::outcome_for_leg(leg)?)))
        .collect();
    outcome::push_outcomes(ctx, &tx, &outcomes).await?;
    legs::save(&tx, &rows).await?;
    tx.commit().await?;
    ctx.relay.notify();
    Ok(())
}

/// True when the item is done; a refund of an intent that turns out to be escrowed stays.
fn cancel_leg(
    leg: &mut ChainLegRow,
    record: OnChainRecord,
    message_id: Option<MessageId>,
    block: u64,
) -> Result<bool, WorkError> {
    let because = |why| TransitionReason {
        name: why,
        tx_hash: None,
        message_id,
    };
    if let OnChainRecord::Present(_) = record {
        let observed = leg_for_record(record).unwrap_or(leg.leg);
        leg.block_number = Some(block);
        leg.advance(observed, Cause::Observed, because("found on chain"))?;
        return Ok(false);
    }
    match leg.leg {
        ChainLeg::Queued => {
            leg.reason = Some(LegReason::NotSent);
            leg.advance(
                ChainLeg::Dropped,
                Cause::Commanded,
                because("undone before any attempt"),
            )?;
        }
        // Its attempts were mined without an effect, and nothing more may be deposited.
        ChainLeg::Submitting => {
            leg.reason = Some(LegReason::PaymentWindowOver);
            leg.advance(
                ChainLeg::Rejected,
                Cause::Commanded,
                because("the payment window is over"),
            )?;
        }
        _ => {}
    }
    Ok(true)
}
