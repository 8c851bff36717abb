//! Gathers everything about one block that the next steps depend on. On the happy path one request is enough: its logs.

use std::collections::{HashMap, HashSet};

use chain::query::BlockHeader;
use chain::{BlockRef, ChainClient, ChainError, EscrowEvent};
use domain::ids::IntentId;
use storage::Pool;
use storage::executor::attempts::{self, AttemptRow};

use super::facts::BlockFacts;
use super::receipts::{Receipts, address};
use super::resend::Resender;
use crate::error::WorkError;
use crate::rules::record::OnChainRecord;
use crate::settling::FinalBlocks;

pub struct Gatherer {
    pub pool: Pool,
    pub chain: ChainClient,
    pub receipts: Receipts,
    pub final_blocks: FinalBlocks,
}

impl Gatherer {
    /// `at_head` means that no higher block is known. Only then are the signers' counts read: full nodes drop the state of
    /// older blocks, and an old count proves nothing about later transactions.
    pub async fn gather(
        &self,
        header: &BlockHeader,
        resender: &Resender,
        at_head: bool,
    ) -> Result<BlockFacts, WorkError> {
        let logs = self.chain.escrow_logs(header.hash).await?;
        let final_block = self.final_blocks.final_block(header).await?;
        let (open, ended) = {
            let client = self.pool.get().await?;
            let open = attempts::open(&client).await?;
            let ended = match final_block {
                Some(block) => attempts::with_final_outcome(&client, block).await?,
                None => Vec::new(),
            };
            (open, ended)
        };
        let mut facts = BlockFacts {
            header: *header,
            logs,
            final_block,
            next_nonces: HashMap::new(),
            unexplained_attempts: Vec::new(),
            ended,
            records: Some(HashMap::new()),
        };
        let overdue = |attempt: &AttemptRow| {
            !facts.has_log_of(attempt) && resender.is_overdue(attempt.id, header.number)
        };
        if at_head {
            let late: HashSet<[u8; 20]> = open.iter().filter(|a| overdue(a)).map(|a| a.signer).collect();
            for signer in late {
                let next = self
                    .chain
                    .nonce(&address(&signer)?, BlockRef::Hash(header.hash))
                    .await?;
                facts.next_nonces.insert(signer, next);
            }
            facts.unexplained_attempts = self.receipts.unexplained(&facts, &open).await?;
        }
        facts.records = match self.records(&facts).await {
            // Whatever the node's message: below the head the legs are as good, and the head can be asked.
            Err(WorkError::Chain(error)) if !at_head && !matches!(error, ChainError::Unavailable(_)) => {
                // The next block brings them again.
                facts.ended.clear();
                None
            }
            found => Some(found?),
        };
        Ok(facts)
    }

    /// Reads, with one request, the records of all intents whose state the logs leave open.
    async fn records(&self, facts: &BlockFacts) -> Result<HashMap<IntentId, OnChainRecord>, WorkError> {
        let mut ids: Vec<IntentId> = facts
            .logs
            .iter()
            .filter(|log| matches!(log.event, EscrowEvent::Skipped { .. }))
            .filter_map(|log| log.event.intent_id())
            .collect();
        ids.extend(facts.ended.iter().map(|item| item.intent_id));
        if !facts.unexplained_attempts.is_empty() {
            let attempt_ids: Vec<i64> = facts.unexplained_attempts.iter().map(|(id, _)| *id).collect();
            let items = attempts::items(&self.pool.get().await?, &attempt_ids).await?;
            ids.extend(items.iter().map(|item| item.intent_id));
        }
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let record = |found: Option<chain::query::IntentOnChain>| {
            found.map_or(OnChainRecord::Absent, |record| {
                OnChainRecord::Present(record.status)
            })
        };
        let found = self
            .chain
            .intents(&ids, BlockRef::Hash(facts.header.hash))
            .await?;
        Ok(ids.into_iter().zip(found.into_iter().map(record)).collect())
    }
}
