//! Applies one block in one transaction: the block and its events, attempts, items, legs, and outcomes for callback.

use std::sync::Arc;
use std::time::Duration;

use domain::clock::Clock;
use domain::ids::{IntentId, MessageId};
use domain::intent::{Cause, ChainLeg, Finality};
use messaging::Opener;
use messaging::wire::Outcome;
use storage::executor::follower::{self, FollowerLease};
use storage::executor::items::WorkItemRow;
use storage::executor::legs::{ChainLegRow, TransitionReason};
use storage::executor::{attempts, blocks, items, legs, signers};
use storage::{DbTransaction, Pool};

use super::events::{block_row, event_row};
use super::facts::BlockFacts;
use super::members::{AttemptMember, attempt_members, record_of};
use crate::error::WorkError;
use crate::observe::{self, SettledItem, Stage};
use crate::rules::next_step::{ItemFacts, NextStep, next_step};
use crate::rules::record::OnChainRecord;
use crate::settling::effects::NEEDS_A_PERSON;
use crate::settling::{Effects, Outcomes};
use crate::state::Gates;
use crate::work_items::timing::read_timing;

/// Maximum number of legs made final in one transaction; the others follow with the next block.
const MAX_FINALIZED_LEGS: u32 = 5000;

pub struct Applier {
    pub pool: Pool,
    pub outcomes: Outcomes,
    pub gates: Gates,
    /// Opens the sealed commands of settled items for what logs and metrics need.
    pub opener: Opener,
    pub clock: Arc<dyn Clock>,
    /// Final blocks that are kept, so that a fork past them is noticed.
    pub watch_blocks_past_final: u64,
}

impl Applier {
    /// Everything that the block changes commits together; gates, metrics and messages follow the commit.
    pub async fn apply(&self, lease: &FollowerLease, facts: BlockFacts) -> Result<(), WorkError> {
        let mut client = self.pool.get().await?;
        let tx = client.begin().await?;
        if !follower::check(&tx, lease).await? {
            return Err(WorkError::NoLease);
        }
        let events = facts.logs.iter().filter_map(event_row).collect::<Vec<_>>();
        blocks::insert(&tx, &block_row(&facts.header), facts.header.timestamp, &events).await?;
        let finalized = self.finalize(&tx, &facts).await?;
        let members = attempt_members(&tx, &facts).await?;
        let ended: Vec<MessageId> = facts.ended.iter().map(|item| item.message_id).collect();
        let ended = items::lock(&tx, &ended).await?;
        let mut effects = Effects::new(facts.header.number, lock_legs(&tx, &facts, &members).await?);
        for log in &facts.logs {
            effects.apply_log(log)?;
        }
        for member in &members {
            member.apply(&facts, &mut effects)?;
        }
        for item in &ended {
            apply_final(item, &facts, &mut effects)?;
        }
        let results: Vec<SettledItem> = members
            .iter()
            .map(|member| {
                let timing = read_timing(&self.opener, &member.item, self.clock.now());
                member.settled_item(&facts, timing)
            })
            .collect();
        let refusals = self.outcomes.write_effects(&tx, effects).await?;
        for (signer, next) in &facts.next_nonces {
            signers::raise_nonce(&tx, signer, *next).await?;
        }
        if let Some(block) = facts.final_block {
            let watched = block.saturating_sub(self.watch_blocks_past_final);
            blocks::prune(&tx, watched).await?;
        }
        tx.commit().await?;
        for refusal in &refusals {
            self.gates.trip(refusal);
        }
        for took in finalized {
            observe::stage_completed(Stage::MinedToFinal, took);
        }
        for result in &results {
            observe::item_settled(result);
        }
        self.outcomes.announce();
        Ok(())
    }

    /// Makes legs and attempts of final blocks final; returns how long each minted leg took to become final.
    async fn finalize(&self, tx: &DbTransaction<'_>, facts: &BlockFacts) -> Result<Vec<Duration>, WorkError> {
        let Some(block) = facts.final_block else {
            return Ok(Vec::new());
        };
        attempts::mark_final(tx, block).await?;
        let mut settled = legs::lock_awaiting_finality(tx, block, MAX_FINALIZED_LEGS).await?;
        let mut outcomes = Vec::with_capacity(settled.len());
        let mut took = Vec::new();
        for leg in &mut settled {
            let (to, outcome) = match leg.leg {
                ChainLeg::Executed(_) => {
                    took.push(leg.unchanged_for);
                    (ChainLeg::Executed(Finality::Final), Outcome::Executed)
                }
                _ => (ChainLeg::Refunded(Finality::Final), Outcome::Refunded),
            };
            leg.advance(
                to,
                Cause::Observed,
                TransitionReason {
                    name: "final",
                    tx_hash: None,
                    message_id: None,
                },
            )?;
            outcomes.push(outcome);
        }
        let outcomes: Vec<(&ChainLegRow, Outcome)> = settled.iter().zip(outcomes).collect();
        self.outcomes.push(tx, &outcomes).await?;
        legs::save(tx, &settled).await?;
        Ok(took)
    }
}

/// Applies the permanent result of an item whose block is final now.
fn apply_final(item: &WorkItemRow, facts: &BlockFacts, effects: &mut Effects) -> Result<(), WorkError> {
    let ended = facts
        .ended
        .iter()
        .find(|ended| ended.message_id == item.message_id);
    let record = record_of(facts, effects, &item.intent_id);
    let result = ended.and_then(|ended| ended.outcome);
    // Without the record nothing permanent is applied.
    let (Some(result), true) = (result, record != OnChainRecord::NotRead) else {
        return Ok(());
    };
    // Larger batches were halved when their block was ingested.
    let asked = ItemFacts {
        command: item.command,
        result,
        record,
        batch_size: 1,
    };
    match next_step(asked) {
        NextStep::Reject => effects.reject(item.message_id, &item.intent_id, result, record)?,
        NextStep::Park(result) => {
            observe::item_parked(item, result.name(), NEEDS_A_PERSON);
            effects.park(item, result);
        }
        NextStep::Done => effects.mark_done(item, record)?,
        NextStep::Refused | NextStep::Retry(_) | NextStep::ShrinkBatch(_) => {}
    }
    Ok(())
}

async fn lock_legs(
    tx: &DbTransaction<'_>,
    facts: &BlockFacts,
    members: &[AttemptMember],
) -> Result<Vec<ChainLegRow>, WorkError> {
    let mut ids: Vec<IntentId> = facts
        .logs
        .iter()
        .filter_map(|log| log.event.intent_id())
        .collect();
    ids.extend(members.iter().map(|member| member.item.intent_id));
    ids.extend(facts.ended.iter().map(|item| item.intent_id));
    ids.sort_unstable();
    ids.dedup();
    Ok(legs::lock(tx, &ids).await?)
}
