//! Cancels intents whose deposit was never sent, or may not be sent any more, unless the chain has a record of them.

use std::time::Duration;

use chain::{BlockRef, ChainClient};
use domain::command::WorkItemState;
use domain::ids::{IntentId, MessageId};
use domain::intent::{Cause, ChainLeg};
use domain::item_result::LegReason;
use messaging::wire::Outcome;
use storage::Pool;
use storage::executor::items::WorkItemChange;
use storage::executor::legs::{ChainLegRow, TransitionReason};
use storage::executor::signers::SignerLease;
use storage::executor::{attempts, items, legs, signers};

use crate::error::WorkError;
use crate::rules::record::{OnChainRecord, leg_for_record};
use crate::settling::Outcomes;
use crate::settling::outcomes::outcome_for_leg;
use crate::state::ChainView;

/// Delay of an item whose attempts are not final.
const NOT_FINAL_WAIT: Duration = Duration::from_secs(1);

/// An intent to cancel, with the item that asks for it, if there is one.
#[derive(Clone, Copy, Debug)]
pub struct CancelRequest {
    pub item: Option<MessageId>,
    pub intent: IntentId,
}

impl CancelRequest {
    /// Nobody asks for it: no command would move the intent any more.
    pub const fn without_item(intent: IntentId) -> Self {
        Self { item: None, intent }
    }
}

#[derive(Clone)]
pub struct Canceller {
    pub pool: Pool,
    pub chain: ChainClient,
    pub view: ChainView,
    pub outcomes: Outcomes,
}

impl Canceller {
    /// Reads the records on chain, then updates items and legs in one transaction.
    pub async fn cancel(&self, lease: &SignerLease, wanted: &[CancelRequest]) -> Result<(), WorkError> {
        let ids: Vec<IntentId> = wanted.iter().map(|request| request.intent).collect();
        // Read at the ingested block: an endpoint without that block cannot prove that a record is absent.
        let head = self.view.known_head()?;
        let records = self.chain.intents(&ids, BlockRef::Hash(head.hash)).await?;
        let mut client = self.pool.get().await?;
        let tx = client.begin().await?;
        signers::check(&tx, lease).await?.ok_or(WorkError::NoLease)?;
        let messages: Vec<MessageId> = wanted.iter().filter_map(|request| request.item).collect();
        items::lock(&tx, &messages).await?;
        let mut rows = legs::lock(&tx, &ids).await?;
        let not_final = attempts::not_final(&tx, &ids).await?;
        let mut changes = Vec::new();
        for (index, request) in wanted.iter().enumerate() {
            let Some(leg) = rows.iter_mut().find(|leg| leg.intent_id == request.intent) else {
                continue;
            };
            let record = match records.get(index).and_then(Option::as_ref) {
                Some(found) => OnChainRecord::Present(found.status),
                None => OnChainRecord::Absent,
            };
            // An intent with an attempt that may still be mined, or mined again after a fork, is not cancelled.
            if not_final.contains(&request.intent) {
                changes.extend(request.item.map(|message| {
                    let wait = WorkItemChange::to(message, WorkItemState::Ready)
                        .with_reason("a deposit is not final");
                    wait.delayed_by(NOT_FINAL_WAIT)
                }));
                continue;
            }
            if cancel_leg(leg, record, request.item, head.number)? {
                changes.extend(
                    request.item.map(|message| {
                        WorkItemChange::to(message, WorkItemState::Done).with_reason("undone")
                    }),
                );
            }
        }
        items::update(&tx, &changes).await?;
        let outcomes: Vec<(&ChainLegRow, Outcome)> = rows
            .iter()
            .filter(|leg| leg.is_changed())
            .filter_map(|leg| Some((leg, outcome_for_leg(leg)?)))
            .collect();
        self.outcomes.push(&tx, &outcomes).await?;
        legs::save(&tx, &rows).await?;
        tx.commit().await?;
        self.outcomes.announce();
        Ok(())
    }
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
