//! Applies one block in one transaction: the block and its events, attempts, items, legs, and outcomes for callback.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chain::{EscrowEvent, EscrowLog, TxHash, calls};
use domain::ids::{IntentId, MessageId};
use domain::intent::{Cause, ChainLeg, Finality};
use domain::item_result::{ItemOutcome, ItemResult};
use messaging::wire::Outcome;
use storage::DbTransaction;
use storage::executor::attempts::{self, AttemptItemRow, AttemptRow};
use storage::executor::blocks::EventRow;
use storage::executor::follower::{self, FollowerLease};
use storage::executor::items::WorkItemRow;
use storage::executor::legs::{ChainLegRow, TransitionReason};
use storage::executor::{blocks, items, legs, signers};

use super::effects::{BlockEffects, BreakerTrip, NEEDS_A_PERSON};
use super::follow::block_row;
use super::gather::BlockFacts;
use super::replace;
use crate::context::{Context, WorkError};
use crate::observe::{SettledItem, Stage};
use crate::rules::next_step::{ItemFacts, NextStep, OnChainRecord, next_step, record_for_leg};
use crate::{item_timing, observe, outcome};

/// Maximum number of legs made final in one transaction; the others follow with the next block.
const MAX_FINALIZED_LEGS: u32 = 5000;

pub async fn apply(ctx: &Context, lease: &FollowerLease, facts: BlockFacts) -> Result<(), WorkError> {
    let mut client = ctx.pool.get().await?;
    let tx = client.begin().await?;
    if !follower::check(&tx, lease).await? {
        return Err(WorkError::NoLease);
    }
    let events = facts.logs.iter().filter_map(event_row).collect::<Vec<_>>();
    blocks::insert(&tx, &block_row(&facts.header), facts.header.timestamp, &events).await?;
    let finalized = finalize(ctx, &tx, &facts).await?;
    let members = attempt_members(&tx, &facts).await?;
    let ended: Vec<MessageId> = facts.ended.iter().map(|item| item.message_id).collect();
    let ended = items::lock(&tx, &ended).await?;
    let mut effects = BlockEffects::new(facts.header.number, lock_legs(&tx, &facts, &members).await?);
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
        .map(|member| member.settled_item(ctx, &facts))
        .collect();
    let trips = write_effects(ctx, &tx, effects).await?;
    for (signer, next) in &facts.next_nonces {
        signers::raise_nonce(&tx, signer, *next).await?;
    }
    if let Some(block) = facts.final_block {
        let watched = block.saturating_sub(ctx.policy.chain.watch_blocks_past_final);
        blocks::prune(&tx, watched).await?;
    }
    tx.commit().await?;
    for (signer, refusal) in trips {
        ctx.trip_breaker(&signer, refusal);
    }
    for took in finalized {
        observe::stage_completed(Stage::MinedToFinal, took);
    }
    for result in &results {
        observe::item_settled(result);
    }
    Ok(())
}

/// Writes all effects in the transaction that locked the rows; the caller trips the returned breakers after the commit.
pub async fn write_effects(
    ctx: &Context,
    tx: &DbTransaction<'_>,
    effects: BlockEffects,
) -> Result<Vec<BreakerTrip>, WorkError> {
    items::update(tx, &effects.items).await?;
    attempts::set_outcomes(tx, &effects.results).await?;
    let outcomes: Vec<(&ChainLegRow, Outcome)> = effects
        .outcomes
        .iter()
        .filter_map(|(id, outcome)| Some((effects.leg(id)?, *outcome)))
        .collect();
    outcome::push_outcomes(ctx, tx, &outcomes).await?;
    let trips = effects.trips.clone();
    legs::save(tx, &effects.into_legs()).await?;
    Ok(trips)
}

/// Makes legs and attempts of final blocks final; returns how long each minted leg took to become final.
async fn finalize(
    ctx: &Context,
    tx: &DbTransaction<'_>,
    facts: &BlockFacts,
) -> Result<Vec<Duration>, WorkError> {
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
    outcome::push_outcomes(ctx, tx, &outcomes).await?;
    legs::save(tx, &settled).await?;
    Ok(took)
}

/// One item of an attempt that was mined, or whose nonce is lost.
struct AttemptMember {
    attempt_id: i64,
    signer: [u8; 20],
    tx_hash: [u8; 32],
    item: WorkItemRow,
    /// The result, if it is known without a log.
    result: Option<ItemResult>,
    batch: u32,
}

impl AttemptMember {
    fn result(&self, facts: &BlockFacts) -> ItemResult {
        self.result
            .unwrap_or_else(|| result_from_logs(&facts.logs, &self.tx_hash, &self.item.intent_id))
    }

    fn settled_item(&self, ctx: &Context, facts: &BlockFacts) -> SettledItem {
        SettledItem {
            command: self.item.command,
            result: self.result(facts),
            intent_id: self.item.intent_id,
            message_id: self.item.message_id,
            tx_hash: TxHash::from_bytes(self.tx_hash),
            block: facts.header.number,
            timing: item_timing::read_timing(&ctx.verifier.opener, &self.item, ctx.clock.now()),
        }
    }

    fn apply(&self, facts: &BlockFacts, effects: &mut BlockEffects) -> Result<(), WorkError> {
        let id = self.item.intent_id;
        let result = self.result(facts);
        let record = record_of(facts, effects, &id);
        let asked = ItemFacts {
            command: self.item.command,
            result,
            record,
            batch_size: self.batch,
        };
        let step = next_step(asked);
        effects
            .results
            .push((self.attempt_id, self.item.message_id, result));
        effects.apply_step((&self.item, &self.signer), (step, record))?;
        Ok(())
    }
}

/// Applies the permanent result of an item whose block is final now.
fn apply_final(item: &WorkItemRow, facts: &BlockFacts, effects: &mut BlockEffects) -> Result<(), WorkError> {
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
        NextStep::Reject => effects.reject(item.message_id, &item.intent_id, (result, record))?,
        NextStep::Park(result) => {
            observe::item_parked(item, result.name(), NEEDS_A_PERSON);
            effects.park(item, result);
        }
        NextStep::Done => effects.mark_done(item, record)?,
        NextStep::Refused | NextStep::Retry(_) | NextStep::ShrinkBatch(_) => {}
    }
    Ok(())
}

fn record_of(facts: &BlockFacts, effects: &BlockEffects, id: &IntentId) -> OnChainRecord {
    match &facts.records {
        Some(read) => read.get(id).copied().unwrap_or(OnChainRecord::NotRead),
        None => effects
            .leg(id)
            .map_or(OnChainRecord::NotRead, |leg| record_for_leg(leg.leg)),
    }
}

/// The result of one item according to the logs of its transaction.
fn result_from_logs(logs: &[EscrowLog], tx_hash: &[u8; 32], id: &IntentId) -> ItemResult {
    let mut of_item = logs
        .iter()
        .filter(|log| log.tx_hash.as_bytes() == tx_hash && log.event.intent_id() == Some(*id));
    of_item
        .find_map(|log| match &log.event {
            EscrowEvent::Submitted { .. } | EscrowEvent::Executed { .. } | EscrowEvent::Refunded { .. } => {
                Some(ItemResult::Reported(ItemOutcome::Done))
            }
            EscrowEvent::Skipped { outcome, .. } => Some(ItemResult::Reported(*outcome)),
            EscrowEvent::Credited { .. } | EscrowEvent::Other { .. } => None,
        })
        .unwrap_or(ItemResult::NoEvent)
}

/// The items of every attempt whose result this block holds. The signed bytes name them; a row that names another item
/// was forged and changes nothing.
async fn attempt_members(
    tx: &DbTransaction<'_>,
    facts: &BlockFacts,
) -> Result<Vec<AttemptMember>, WorkError> {
    let hashes: HashSet<[u8; 32]> = facts.logs.iter().map(|log| *log.tx_hash.as_bytes()).collect();
    let hashes: Vec<[u8; 32]> = hashes.into_iter().collect();
    let unexplained: HashMap<i64, ItemResult> = facts.unexplained_attempts.iter().copied().collect();
    let mut settled = Vec::new();
    if !hashes.is_empty() {
        settled = attempts::lock_by_hash(tx, &hashes).await?;
    }
    if !unexplained.is_empty() {
        let ids: Vec<i64> = unexplained.keys().copied().collect();
        settled.extend(attempts::lock_by_id(tx, &ids).await?);
    }
    if settled.is_empty() {
        return Ok(Vec::new());
    }
    let (gone, mined): (Vec<i64>, Vec<i64>) = settled
        .iter()
        .map(|attempt| attempt.id)
        .partition(|id| unexplained.get(id) == Some(&ItemResult::NonceLost));
    attempts::mark_superseded(tx, &gone).await?;
    attempts::mark_mined(tx, &mined, facts.header.number, facts.header.hash.as_bytes()).await?;
    let ids: Vec<i64> = settled.iter().map(|attempt| attempt.id).collect();
    let named = attempts::items(tx, &ids).await?;
    let messages: Vec<MessageId> = named.iter().map(|item| item.message_id).collect();
    let rows = items::lock(tx, &messages).await?;
    let rows: HashMap<MessageId, WorkItemRow> = rows.into_iter().map(|row| (row.message_id, row)).collect();
    let mut members = Vec::new();
    for attempt in &settled {
        let signed = signed_members(attempt);
        let batch = u32::try_from(signed.len()).unwrap_or(u32::MAX);
        for item in named.iter().filter(|item| item.attempt_id == attempt.id) {
            match rows.get(&item.message_id) {
                Some(row) if is_member(item, row, &signed) => members.push(AttemptMember {
                    attempt_id: attempt.id,
                    signer: attempt.signer,
                    tx_hash: attempt.tx_hash,
                    item: row.clone(),
                    result: unexplained.get(&attempt.id).copied(),
                    batch,
                }),
                _ => observe::row_tampered("attempt_items", &item.intent_id),
            }
        }
    }
    Ok(members)
}

fn is_member(item: &AttemptItemRow, row: &WorkItemRow, signed: &HashSet<IntentId>) -> bool {
    signed.contains(&item.intent_id) && row.intent_id == item.intent_id
}

pub fn signed_members(attempt: &AttemptRow) -> HashSet<IntentId> {
    let called = replace::recover_signed(attempt).and_then(|read| calls::decode_call(&read.transaction.data));
    called
        .map(|(_, ids)| ids.into_iter().collect())
        .unwrap_or_default()
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

fn event_row(log: &EscrowLog) -> Option<EventRow> {
    let intent_id = log.event.intent_id()?;
    let (user, amount, detail) = match &log.event {
        EscrowEvent::Submitted { user, amount, .. } | EscrowEvent::Executed { user, amount, .. } => {
            (Some(*user.as_bytes()), Some(amount.get()), None)
        }
        EscrowEvent::Refunded {
            user, amount, reason, ..
        } => (
            Some(*user.as_bytes()),
            Some(amount.get()),
            Some(printable(reason)),
        ),
        EscrowEvent::Credited {
            depositor, amount, ..
        } => (Some(*depositor.as_bytes()), Some(amount.get()), None),
        EscrowEvent::Skipped { outcome, .. } => (None, None, Some(outcome.name().to_owned())),
        EscrowEvent::Other { .. } => (None, None, None),
    };
    Some(EventRow {
        log_index: log.log_index,
        tx_hash: *log.tx_hash.as_bytes(),
        kind: log.event.name(),
        intent_id,
        user,
        amount,
        detail,
    })
}

/// PostgreSQL text holds no zero byte, and anyone may have written the reason.
fn printable(text: &str) -> String {
    text.chars().filter(|c| *c != '\0').take(256).collect()
}
