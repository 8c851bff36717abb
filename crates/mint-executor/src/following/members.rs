//! The items of attempts whose result a block holds, and what follows for each.

use std::collections::{HashMap, HashSet};

use chain::{EscrowEvent, EscrowLog, TxHash};
use domain::ids::{IntentId, MessageId};
use domain::item_result::{ItemOutcome, ItemResult};
use storage::DbTransaction;
use storage::executor::attempts::{self, AttemptItemRow, AttemptRow};
use storage::executor::items::{self, WorkItemRow};

use super::facts::BlockFacts;
use crate::attempts::stored_bytes::signed_members;
use crate::error::WorkError;
use crate::observe::{self, ItemTiming, SettledItem};
use crate::rules::next_step::{ItemFacts, next_step};
use crate::rules::record::{OnChainRecord, record_for_leg};
use crate::settling::Effects;

/// One item of an attempt that was mined, or whose nonce is lost.
pub struct AttemptMember {
    attempt_id: i64,
    signer: [u8; 20],
    tx_hash: [u8; 32],
    pub item: WorkItemRow,
    /// The result, if it is known without a log.
    result: Option<ItemResult>,
    batch: u32,
}

impl AttemptMember {
    fn result(&self, facts: &BlockFacts) -> ItemResult {
        self.result
            .unwrap_or_else(|| result_from_logs(&facts.logs, &self.tx_hash, &self.item.intent_id))
    }

    pub fn settled_item(&self, facts: &BlockFacts, timing: Option<ItemTiming>) -> SettledItem {
        SettledItem {
            command: self.item.command,
            result: self.result(facts),
            intent_id: self.item.intent_id,
            message_id: self.item.message_id,
            tx_hash: TxHash::from_bytes(self.tx_hash),
            block: facts.header.number,
            timing,
        }
    }

    pub fn apply(&self, facts: &BlockFacts, effects: &mut Effects) -> Result<(), WorkError> {
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
        effects.apply_step(&self.item, &self.signer, step, record)?;
        Ok(())
    }
}

/// What the escrow holds of the intent once this block is applied.
pub fn record_of(facts: &BlockFacts, effects: &Effects, id: &IntentId) -> OnChainRecord {
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
pub async fn attempt_members(
    tx: &DbTransaction<'_>,
    facts: &BlockFacts,
) -> Result<Vec<AttemptMember>, WorkError> {
    let unexplained: HashMap<i64, ItemResult> = facts.unexplained_attempts.iter().copied().collect();
    let settled = lock_settled(tx, facts).await?;
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

/// The attempts whose result this block holds.
async fn lock_settled(tx: &DbTransaction<'_>, facts: &BlockFacts) -> Result<Vec<AttemptRow>, WorkError> {
    let hashes: HashSet<[u8; 32]> = facts.logs.iter().map(|log| *log.tx_hash.as_bytes()).collect();
    let hashes: Vec<[u8; 32]> = hashes.into_iter().collect();
    let mut settled = Vec::new();
    if !hashes.is_empty() {
        settled = attempts::lock_by_hash(tx, &hashes).await?;
    }
    if !facts.unexplained_attempts.is_empty() {
        let unexplained: HashMap<i64, ItemResult> = facts.unexplained_attempts.iter().copied().collect();
        let ids: Vec<i64> = unexplained.keys().copied().collect();
        settled.extend(attempts::lock_by_id(tx, &ids).await?);
    }
    Ok(settled)
}

fn is_member(item: &AttemptItemRow, row: &WorkItemRow, signed: &HashSet<IntentId>) -> bool {
    signed.contains(&item.intent_id) && row.intent_id == item.intent_id
}
