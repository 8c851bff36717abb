//! Applies the consequences of simulated refusals as if the chain had refused the items, without spending gas.

use std::collections::HashSet;
use std::time::Duration;

use chain::query::BlockHeader;
use domain::command::WorkItemState;
use domain::ids::IntentId;
use domain::item_result::ItemResult;
use storage::DbTransaction;
use storage::executor::attempts;
use storage::executor::items::{WorkItemChange, WorkItemRow};
use storage::executor::legs::ChainLegRow;

use crate::error::WorkError;
use crate::observe;
use crate::rules::next_step::NextStep;
use crate::rules::simulation::SimulatedRefusal;
use crate::settling::effects::NEEDS_A_PERSON;
use crate::settling::{Effects, Outcomes};
use crate::state::{Gates, Refusal};

/// Delay of an item that the head would refuse permanently, and a final block would not yet.
const REFUSED_WAIT: Duration = Duration::from_secs(2);

/// The refused items, logged after the commit.
#[derive(Debug, Default)]
pub struct RefusedItems {
    settled: Vec<(WorkItemRow, ItemResult, NextStep)>,
    refusals: Vec<Refusal>,
    /// Items were refused, so outcomes may wait.
    any: bool,
}

#[derive(Clone)]
pub struct RefusalSettler {
    pub outcomes: Outcomes,
    pub gates: Gates,
}

impl RefusalSettler {
    /// Runs in the transaction that locked the items and their legs. Takes the legs of refused items out of `legs` and
    /// saves them.
    pub async fn settle(
        &self,
        tx: &DbTransaction<'_>,
        signer: &[u8; 20],
        head: &BlockHeader,
        legs: &mut Vec<ChainLegRow>,
        refused: &[(WorkItemRow, SimulatedRefusal)],
    ) -> Result<RefusedItems, WorkError> {
        if refused.is_empty() {
            return Ok(RefusedItems::default());
        }
        let ids: Vec<IntentId> = refused.iter().map(|(item, _)| item.intent_id).collect();
        let not_final = attempts::not_final(tx, &ids).await?;
        let theirs = legs.extract_if(.., |leg| ids.contains(&leg.intent_id)).collect();
        let mut effects = Effects::new(head.number, theirs);
        let mut settled = Vec::new();
        for (item, refusal) in refused {
            match *refusal {
                SimulatedRefusal::RetryLater(result) => effects.items.push(postponed(item, result)),
                SimulatedRefusal::Settle { result, record, step } => match step {
                    NextStep::Retry(_) | NextStep::ShrinkBatch(_) => {
                        effects.apply_step(item, signer, step, record)?;
                    }
                    // An attempt that may still be mined, or mined again after a fork, decides first.
                    _ if may_still_be_mined(&not_final, item) => {
                        effects.items.push(postponed(item, result));
                    }
                    NextStep::Reject => {
                        effects.reject(item.message_id, &item.intent_id, result, record)?;
                    }
                    step => {
                        effects.apply_step(item, signer, step, record)?;
                        if let NextStep::Park(result) = step {
                            effects.park(item, result);
                        }
                        settled.push((item.clone(), result, step));
                    }
                },
            }
        }
        let refusals = self.outcomes.write_effects(tx, effects).await?;
        Ok(RefusedItems {
            settled,
            refusals,
            any: true,
        })
    }

    /// Logs what was committed, closes the gates, and wakes the relay.
    pub fn report(&self, refused: &RefusedItems) {
        for (item, result, step) in &refused.settled {
            match step {
                NextStep::Park(result) => observe::item_parked(item, result.name(), NEEDS_A_PERSON),
                NextStep::Refused => observe::compliance_checked(*result),
                _ => {}
            }
        }
        for refusal in &refused.refusals {
            self.gates.trip(refusal);
        }
        if refused.any {
            self.outcomes.announce();
        }
    }
}

fn postponed(item: &WorkItemRow, result: ItemResult) -> WorkItemChange {
    let mut change = WorkItemChange::to(item.message_id, WorkItemState::Ready)
        .with_reason(result.name())
        .delayed_by(REFUSED_WAIT);
    change.max_batch_size = item.max_batch_size;
    change
}

fn may_still_be_mined(not_final: &HashSet<IntentId>, item: &WorkItemRow) -> bool {
    not_final.contains(&item.intent_id)
}
