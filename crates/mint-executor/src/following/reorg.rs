//! Rewinds to the common ancestor after a reorganisation. Attempts of abandoned blocks are in flight again, legs return
//! to what the escrow held at the ancestor, and the same bytes are broadcast again.

use std::collections::HashMap;

use chain::query::BlockHeader;
use chain::{BlockHash, BlockRef, ChainClient, ChainError};
use domain::command::{Command, WorkItemState};
use domain::ids::IntentId;
use domain::intent::{Cause, ChainLeg};
use storage::Pool;
use storage::executor::attempts::AttemptItemRow;
use storage::executor::blocks::BlockRow;
use storage::executor::follower::{self, FollowerLease};
use storage::executor::items::{WorkItemChange, WorkItemRow};
use storage::executor::legs::{ChainLegRow, TransitionReason};
use storage::executor::{attempts, blocks, items, legs};

use crate::error::WorkError;
use crate::observe;
use crate::rules::record::{OnChainRecord, leg_for_record};

#[derive(Clone)]
pub struct Rewinder {
    pub pool: Pool,
    pub chain: ChainClient,
    pub confirmations: u64,
}

impl Rewinder {
    /// Whether the head differs from the block that we ingested at its height.
    pub async fn head_differs(&self, head: &BlockHeader) -> Result<bool, WorkError> {
        let known = self.known_blocks().await?;
        Ok(known
            .iter()
            .any(|block| block.number == head.number && block.hash != *head.hash.as_bytes()))
    }

    /// Rewinds to the last common block and returns it.
    pub async fn follow(
        &self,
        lease: &FollowerLease,
        final_block: Option<u64>,
    ) -> Result<BlockRow, WorkError> {
        let endpoint = self.chain.pinned();
        let known = self.known_blocks().await?;
        let head = endpoint.latest_header().await?;
        if lags(&known, &head) {
            let why = format!("the endpoint is at block {}, behind what we know", head.number);
            return Err(ChainError::Unavailable(why).into());
        }
        let oldest = known.last().map_or(0, |block| block.number);
        let ancestor = common_ancestor(&endpoint, &known, &head).await?;
        let ancestor = ancestor.ok_or(WorkError::ReorgTooDeep(oldest))?;
        let from = known.first().map_or(ancestor.number, |block| block.number);
        let touched = blocks::intents_after(&self.pool.get().await?, ancestor.number).await?;
        let records = self.records(&endpoint, &ancestor, touched).await?;
        self.rewind_rows(lease, &ancestor, &records).await?;
        let final_block = final_block.or_else(|| from.checked_sub(self.confirmations));
        let past_final = final_block.is_some_and(|block| ancestor.number < block);
        observe::reorg(from, ancestor.number, past_final);
        Ok(ancestor)
    }

    /// Whether the chain of our endpoint has any block that we ingested.
    pub async fn has_our_blocks(&self) -> Result<bool, WorkError> {
        let endpoint = self.chain.pinned();
        let (known, head) = (self.known_blocks().await?, endpoint.latest_header().await?);
        Ok(common_ancestor(&endpoint, &known, &head).await?.is_some())
    }

    /// The escrow's records at the ancestor: from the node, or from the stored events where the node dropped that state.
    async fn records(
        &self,
        endpoint: &ChainClient,
        ancestor: &BlockRow,
        ids: Vec<IntentId>,
    ) -> Result<HashMap<IntentId, OnChainRecord>, WorkError> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let found = match endpoint
            .intents(&ids, BlockRef::Hash(BlockHash::from_bytes(ancestor.hash)))
            .await
        {
            Ok(found) => found
                .into_iter()
                .map(|found| {
                    found.map_or(OnChainRecord::Absent, |record| {
                        OnChainRecord::Present(record.status)
                    })
                })
                .collect(),
            Err(error @ ChainError::Unavailable(_)) => return Err(error.into()),
            Err(_) => {
                let last = blocks::last_events(&self.pool.get().await?, &ids, ancestor.number).await?;
                ids.iter()
                    .map(|id| {
                        last.get(id)
                            .map_or(OnChainRecord::Absent, |status| OnChainRecord::Present(*status))
                    })
                    .collect::<Vec<_>>()
            }
        };
        Ok(ids.into_iter().zip(found).collect())
    }

    async fn known_blocks(&self) -> Result<Vec<BlockRow>, WorkError> {
        // Older blocks are pruned, so this reads all of them.
        Ok(blocks::recent(&self.pool.get().await?, u32::MAX).await?)
    }

    async fn rewind_rows(
        &self,
        lease: &FollowerLease,
        ancestor: &BlockRow,
        records: &HashMap<IntentId, OnChainRecord>,
    ) -> Result<(), WorkError> {
        let mut client = self.pool.get().await?;
        let tx = client.begin().await?;
        if !follower::check(&tx, lease).await? {
            return Err(WorkError::NoLease);
        }
        blocks::delete_after(&tx, ancestor.number).await?;
        let orphaned = attempts::reopen_after(&tx, ancestor.number).await?;
        let named = attempts::items(&tx, &orphaned).await?;
        let messages: Vec<_> = named.iter().map(|item| item.message_id).collect();
        let rows = items::lock(&tx, &messages).await?;
        let changes: Vec<WorkItemChange> = rows
            .iter()
            .map(|row| {
                WorkItemChange::to(row.message_id, WorkItemState::InAttempt).with_reason("reorganised")
            })
            .collect();
        items::update(&tx, &changes).await?;
        let mut ids: Vec<IntentId> = records.keys().copied().collect();
        ids.extend(named.iter().map(|item| item.intent_id));
        ids.sort_unstable();
        ids.dedup();
        let mut legs = legs::lock(&tx, &ids).await?;
        for leg in &mut legs {
            rewind_leg(leg, ancestor, records, &named, &rows)?;
        }
        legs::save(&tx, &legs).await?;
        tx.commit().await?;
        Ok(())
    }
}

/// The address hides several nodes, or the node lost some of its blocks.
pub fn missing_block(head: &BlockHeader, number: u64) -> ChainError {
    ChainError::Unavailable(format!(
        "the node's head is block {}, and it knows no block {number}",
        head.number
    ))
}

/// The last block that the endpoint and our rows have in common.
async fn common_ancestor(
    endpoint: &ChainClient,
    known: &[BlockRow],
    head: &BlockHeader,
) -> Result<Option<BlockRow>, WorkError> {
    for block in known {
        match endpoint.header(block.number).await? {
            Some(there) if *there.hash.as_bytes() == block.hash => return Ok(Some(*block)),
            // A missing block is not a different block: nodes behind one address may lag.
            None if must_have(head, block) => return Err(missing_block(head, block.number).into()),
            Some(_) | None => {}
        }
    }
    Ok(None)
}

/// An endpoint with that head has a block of that height, ours or another.
const fn must_have(head: &BlockHeader, block: &BlockRow) -> bool {
    block.number <= head.number
}

/// Whether the endpoint merely lags behind our blocks, which proves no fork.
fn lags(known: &[BlockRow], head: &BlockHeader) -> bool {
    let behind = known.first().is_some_and(|tip| head.number < tip.number);
    let ours = known
        .iter()
        .find(|block| block.number == head.number)
        .is_none_or(|block| block.hash == *head.hash.as_bytes());
    behind && ours
}

/// Returns the leg to what the escrow held at the ancestor, then advances it to what is signed and in flight.
fn rewind_leg(
    leg: &mut ChainLegRow,
    ancestor: &BlockRow,
    records: &HashMap<IntentId, OnChainRecord>,
    named: &[AttemptItemRow],
    rows: &[WorkItemRow],
) -> Result<(), WorkError> {
    let because = |why| TransitionReason {
        name: why,
        tx_hash: None,
        message_id: None,
    };
    if let Some(there) = records
        .get(&leg.intent_id)
        .and_then(|record| leg_for_record(*record))
    {
        leg.reason = None;
        leg.block_number = (there != ChainLeg::Submitting).then_some(ancestor.number);
        leg.advance(there, Cause::Observed, because("reorganised"))?;
    }
    let commands: Vec<Command> = named
        .iter()
        .filter(|item| item.intent_id == leg.intent_id)
        .filter_map(|item| rows.iter().find(|row| row.message_id == item.message_id))
        .map(|row| row.command)
        .collect();
    for command in commands {
        let commanded = match command {
            Command::Execute => ChainLeg::Executing,
            Command::Refund => ChainLeg::Refunding,
            Command::Submit => continue,
        };
        if leg.leg == ChainLeg::Escrowed {
            leg.advance(commanded, Cause::Commanded, because("in flight again"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(number: u64, hash: u8) -> BlockHeader {
        BlockHeader {
            number,
            hash: BlockHash::from_bytes([hash; 32]),
            parent: BlockHash::from_bytes([0; 32]),
            timestamp: 0,
            base_fee: 0,
            gas_limit: 0,
        }
    }

    #[test]
    fn a_lagging_endpoint_proves_a_fork_only_by_a_different_block() {
        let known: Vec<BlockRow> = (3..=5)
            .rev()
            .map(|number| BlockRow {
                number,
                hash: [7; 32],
                parent: [7; 32],
            })
            .collect();
        assert!(lags(&known, &head(4, 7)), "our block, one behind");
        assert!(lags(&known, &head(1, 9)), "too far behind to tell");
        assert!(!lags(&known, &head(4, 9)), "a shorter fork");
        assert!(!lags(&known, &head(5, 9)), "another block of our height");
        assert!(!lags(&known, &head(6, 9)), "ahead of us");
    }
}
