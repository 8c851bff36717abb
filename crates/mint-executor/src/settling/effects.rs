//! Collects in memory what a block, or a simulation, changes: legs, items, outcomes to publish, breakers to trip. No I/O.

use std::collections::HashMap;
use std::time::Duration;

use chain::{EscrowEvent, EscrowLog};
use domain::command::WorkItemState;
use domain::ids::{IntentId, MessageId};
use domain::intent::{Cause, ChainLeg, Finality, IllegalTransition};
use domain::item_result::{ItemResult, LegReason};
use messaging::wire::Outcome;
use storage::executor::items::{WorkItemChange, WorkItemRow};
use storage::executor::legs::{ChainLegRow, TransitionReason};

use crate::rules::next_step::{Blocker, NextStep};
use crate::rules::record::{OnChainRecord, leg_for_record};
use crate::state::Refusal;

/// Delay of an item whose deposit is missing.
const DEPOSIT_WAIT: Duration = Duration::from_secs(1);
pub const NEEDS_A_PERSON: &str = "the chain's answer needs a person";

#[derive(Debug)]
pub struct Effects {
    block: u64,
    legs: HashMap<IntentId, ChainLegRow>,
    pub items: Vec<WorkItemChange>,
    pub outcomes: Vec<(IntentId, Outcome)>,
    pub results: Vec<(i64, MessageId, ItemResult)>,
    pub refusals: Vec<Refusal>,
}

impl Effects {
    pub fn new(block: u64, legs: Vec<ChainLegRow>) -> Self {
        Self {
            block,
            legs: legs.into_iter().map(|leg| (leg.intent_id, leg)).collect(),
            items: Vec::new(),
            outcomes: Vec::new(),
            results: Vec::new(),
            refusals: Vec::new(),
        }
    }

    pub fn leg(&self, id: &IntentId) -> Option<&ChainLegRow> {
        self.legs.get(id)
    }

    pub fn into_legs(self) -> Vec<ChainLegRow> {
        self.legs.into_values().collect()
    }

    /// Advances the leg of the log's intent, whoever sent the transaction.
    pub fn apply_log(&mut self, log: &EscrowLog) -> Result<(), IllegalTransition> {
        let observed = match &log.event {
            EscrowEvent::Submitted { .. } => ChainLeg::Escrowed,
            EscrowEvent::Executed { .. } => ChainLeg::Executed(Finality::Mined),
            EscrowEvent::Refunded { .. } => ChainLeg::Refunded(Finality::Mined),
            EscrowEvent::Skipped { .. } | EscrowEvent::Credited { .. } | EscrowEvent::Other { .. } => {
                return Ok(());
            }
        };
        let Some(id) = log.event.intent_id() else {
            return Ok(());
        };
        let because = TransitionReason {
            name: "event",
            tx_hash: Some(*log.tx_hash.as_bytes()),
            message_id: None,
        };
        self.advance_leg(&id, observed, because)
    }

    /// Advances a leg to what the chain shows.
    fn advance_leg(
        &mut self,
        id: &IntentId,
        observed: ChainLeg,
        because: TransitionReason,
    ) -> Result<(), IllegalTransition> {
        let Some(leg) = self.legs.get_mut(id) else {
            return Ok(());
        };
        // A final leg is past its mined state.
        if leg.leg.name() == observed.name() {
            return Ok(());
        }
        let was_absent = matches!(
            leg.leg,
            ChainLeg::Queued | ChainLeg::Submitting | ChainLeg::Rejected | ChainLeg::Dropped
        );
        if leg.advance(observed, Cause::Observed, because)? {
            leg.block_number = (observed != ChainLeg::Submitting).then_some(self.block);
            leg.reason = None;
            if observed == ChainLeg::Escrowed && was_absent {
                self.outcomes.push((*id, Outcome::Escrowed));
            }
        }
        Ok(())
    }

    /// Applies the next step of one item, after the logs of its block.
    pub fn apply_step(
        &mut self,
        of: &WorkItemRow,
        signer: &[u8; 20],
        step: NextStep,
        record: OnChainRecord,
    ) -> Result<(), IllegalTransition> {
        let (message_id, id) = (of.message_id, &of.intent_id);
        self.apply_record(of, record)?;
        let item = |state| WorkItemChange::to(message_id, state);
        match step {
            NextStep::Done => self.items.push(item(WorkItemState::Done)),
            NextStep::Refused => {
                self.items
                    .push(item(WorkItemState::Done).with_reason(LegReason::NOT_COMPLIANT.name()));
                if let Some(leg) = self.legs.get_mut(id) {
                    let because = TransitionReason {
                        name: "refused",
                        tx_hash: None,
                        message_id: Some(message_id),
                    };
                    leg.record_reason(LegReason::NOT_COMPLIANT, because);
                }
                self.outcomes.push((*id, Outcome::Refused));
            }
            NextStep::Retry(Blocker::MissingDeposit) => {
                self.items.push(
                    item(WorkItemState::Ready)
                        .with_reason("waits for the deposit")
                        .delayed_by(DEPOSIT_WAIT),
                );
            }
            NextStep::Retry(Blocker::NonceLost) => self
                .items
                .push(item(WorkItemState::Ready).with_reason("its nonce was lost")),
            NextStep::Retry(Blocker::Breaker(cause)) => {
                self.items
                    .push(item(WorkItemState::Ready).with_reason(cause.name()));
                let amount = self
                    .legs
                    .get(id)
                    .and_then(|leg| leg.preimage.as_ref())
                    .map_or(1, |p| p.amount.get());
                self.refusals.push(Refusal {
                    signer: *signer,
                    command: of.command,
                    cause,
                    amount,
                });
            }
            NextStep::ShrinkBatch(limit) => {
                let mut change = item(WorkItemState::Ready).with_reason("needs a smaller batch");
                change.max_batch_size = Some(limit);
                self.items.push(change);
            }
            // These wait until the block is final.
            NextStep::Reject | NextStep::Park(_) => {}
        }
        Ok(())
    }

    /// The chain holds the item's effect, whichever transaction caused it.
    pub fn mark_done(&mut self, item: &WorkItemRow, record: OnChainRecord) -> Result<(), IllegalTransition> {
        self.items
            .push(WorkItemChange::to(item.message_id, WorkItemState::Done));
        self.apply_record(item, record)
    }

    fn apply_record(&mut self, item: &WorkItemRow, record: OnChainRecord) -> Result<(), IllegalTransition> {
        let Some(observed) = leg_for_record(record) else {
            return Ok(());
        };
        let because = TransitionReason {
            name: "read on chain",
            tx_hash: None,
            message_id: Some(item.message_id),
        };
        self.advance_leg(&item.intent_id, observed, because)
    }

    /// Parks an item whose block is final, or for which nothing was ever sent.
    pub fn park(&mut self, item: &WorkItemRow, result: ItemResult) {
        self.items.push(WorkItemChange::park(
            item.message_id,
            result.name(),
            NEEDS_A_PERSON,
        ));
    }

    /// Applies a permanent refusal: its block is final, or nothing was ever sent and a final block would refuse it.
    pub fn reject(
        &mut self,
        message_id: MessageId,
        id: &IntentId,
        result: ItemResult,
        record: OnChainRecord,
    ) -> Result<(), IllegalTransition> {
        self.items
            .push(WorkItemChange::to(message_id, WorkItemState::Done).with_reason(result.name()));
        if let OnChainRecord::Present(_) = record {
            let observed = leg_for_record(record).unwrap_or(ChainLeg::Escrowed);
            let because = TransitionReason {
                name: "read on chain",
                tx_hash: None,
                message_id: Some(message_id),
            };
            return self.advance_leg(id, observed, because);
        }
        let Some(leg) = self.legs.get_mut(id) else {
            return Ok(());
        };
        if matches!(leg.leg, ChainLeg::Queued | ChainLeg::Submitting) {
            leg.reason = Some(LegReason::Refused(result));
            leg.advance(
                ChainLeg::Rejected,
                Cause::Commanded,
                TransitionReason {
                    name: "refused for good",
                    tx_hash: None,
                    message_id: Some(message_id),
                },
            )?;
            self.outcomes.push((*id, Outcome::Rejected));
        }
        Ok(())
    }
}
