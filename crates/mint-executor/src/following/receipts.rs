//! What became of a transaction whose nonce is used and of which no log tells: its receipt, as the endpoints have it.

use std::time::Duration;

use chain::query::{BlockHeader, TransactionReceipt};
use chain::{BlockRef, ChainClient, ChainError, TxHash};
use domain::address::Address;
use domain::item_result::ItemResult;
use futures_util::future::join_all;
use storage::Pool;
use storage::executor::attempts::{self, AttemptRow};
use storage::executor::blocks;
use tokio::time::timeout;

use super::facts::BlockFacts;
use crate::error::WorkError;

/// A block waits at most this long for one endpoint's answers about a transaction without a log.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Transactions that are looked up concurrently.
const MAX_CONCURRENT_LOOKUPS: usize = 32;

/// The status of an attempt at one endpoint.
enum AttemptStatus {
    Ended(ItemResult),
    /// A block of another fork holds it, so answers at our header do not fit.
    OnAnotherFork,
    /// A final block used its nonce, by no transaction of ours.
    NonceLost,
    Unknown,
}

pub struct Receipts {
    pub pool: Pool,
    pub chain: ChainClient,
}

impl Receipts {
    /// Attempts whose nonce the chain has passed although this block has no log of theirs.
    pub async fn unexplained(
        &self,
        facts: &BlockFacts,
        open: &[AttemptRow],
    ) -> Result<Vec<(i64, ItemResult)>, WorkError> {
        let passed: Vec<&AttemptRow> = open
            .iter()
            .filter(|attempt| {
                facts
                    .next_nonces
                    .get(&attempt.signer)
                    .is_some_and(|next| is_used(attempt.nonce, *next))
            })
            .filter(|attempt| !facts.has_log_of(attempt))
            .collect();
        if passed.is_empty() {
            return Ok(Vec::new());
        }
        // Absence counts only from nodes that have this block, and only if all of them agree.
        let at_head = self.endpoints_at(&facts.header).await?;
        let mut unexplained = Vec::new();
        for some in passed.chunks(MAX_CONCURRENT_LOOKUPS) {
            let results = some
                .iter()
                .map(|attempt| async { (attempt.id, self.attempt_result(&at_head, facts, attempt).await) });
            for (id, result) in join_all(results).await {
                unexplained.extend(result?.map(|result| (id, result)));
            }
        }
        Ok(unexplained)
    }

    /// The endpoints that have exactly this block.
    async fn endpoints_at(&self, header: &BlockHeader) -> Result<Vec<ChainClient>, WorkError> {
        let mut at_head = Vec::new();
        let mut failure = None;
        let each = self.chain.each_endpoint().into_iter().map(|endpoint| async {
            (
                with_deadline(async { Ok(endpoint.header(header.number).await?) }).await,
                endpoint,
            )
        });
        for (answer, endpoint) in join_all(each).await {
            match answer {
                Ok(Some(answer)) if answer.hash == header.hash => at_head.push(endpoint),
                Ok(_) => {}
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) if at_head.is_empty() => Err(error),
            _ => Ok(at_head),
        }
    }

    /// One endpoint's receipt proves that the attempt was mined; that it was not, all of them must confirm. An endpoint that
    /// cannot answer (it may be building its index) leaves the attempt open and delays nothing else of this block.
    async fn attempt_result(
        &self,
        at_head: &[ChainClient],
        facts: &BlockFacts,
        attempt: &AttemptRow,
    ) -> Result<Option<ItemResult>, WorkError> {
        let mut lost = !at_head.is_empty();
        let statuses = at_head
            .iter()
            .map(|endpoint| with_deadline(self.attempt_status(endpoint, facts, attempt)));
        for status in join_all(statuses).await {
            match status {
                Ok(AttemptStatus::Ended(result)) => return Ok(Some(result)),
                Ok(AttemptStatus::OnAnotherFork) => return Ok(None),
                Ok(AttemptStatus::NonceLost) => {}
                Ok(AttemptStatus::Unknown) => lost = false,
                Err(error) if error.is_of_an_endpoint() => {
                    tracing::warn!(
                        tx_hash = %TxHash::from_bytes(attempt.tx_hash),
                        error = %domain::error_chain(&error),
                        "an endpoint does not know the status of a transaction: it is asked again with the next block"
                    );
                    lost = false;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(lost.then_some(ItemResult::NonceLost))
    }

    async fn attempt_status(
        &self,
        endpoint: &ChainClient,
        facts: &BlockFacts,
        attempt: &AttemptRow,
    ) -> Result<AttemptStatus, WorkError> {
        let receipt = endpoint.receipt(TxHash::from_bytes(attempt.tx_hash)).await?;
        Ok(match receipt {
            Some(receipt) if !self.is_of_this_chain(&facts.header, &receipt).await? => {
                AttemptStatus::OnAnotherFork
            }
            Some(receipt) if receipt.succeeded => AttemptStatus::Ended(ItemResult::NoEvent),
            Some(receipt) => AttemptStatus::Ended(revert_result(endpoint, &attempt.signer, &receipt).await?),
            None if self.is_nonce_lost(endpoint, facts, attempt).await? => AttemptStatus::NonceLost,
            None => AttemptStatus::Unknown,
        })
    }

    /// A node may switch to another fork between our header and a receipt, and what is read at the header does not describe
    /// that fork. The receipt counts if its block is our header, or lies below it and is a block that we ingested or one
    /// deeper than any fork that we follow.
    async fn is_of_this_chain(
        &self,
        header: &BlockHeader,
        receipt: &TransactionReceipt,
    ) -> Result<bool, WorkError> {
        if receipt.block_number >= header.number {
            return Ok(receipt.block_hash == header.hash);
        }
        let ours = blocks::hash(&self.pool.get().await?, receipt.block_number).await?;
        Ok(ours.is_none_or(|hash| hash == *receipt.block_hash.as_bytes()))
    }

    /// Whether a final block used the nonce and no transaction of ours with that nonce has a receipt.
    async fn is_nonce_lost(
        &self,
        endpoint: &ChainClient,
        facts: &BlockFacts,
        attempt: &AttemptRow,
    ) -> Result<bool, WorkError> {
        let nonce = attempt.nonce;
        let Some(final_block) = facts.final_block else {
            return Ok(false);
        };
        let signer = address(&attempt.signer)?;
        match endpoint.nonce(&signer, BlockRef::Number(final_block)).await {
            Ok(next) if is_used(nonce, next) => {}
            // A node without that state proves nothing.
            Ok(_) | Err(ChainError::UnknownBlock) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        let hashes = attempts::hashes_of_nonce(&self.pool.get().await?, &attempt.signer, nonce).await?;
        for hash in hashes {
            if endpoint.receipt(TxHash::from_bytes(hash)).await?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Limits the time for the answers of one endpoint.
async fn with_deadline<T>(answer: impl Future<Output = Result<T, WorkError>>) -> Result<T, WorkError> {
    timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| {
        let why = format!("no answer within {ANSWER_TIMEOUT:?}");
        Err(ChainError::Unavailable(why).into())
    })
}

pub fn address(signer: &[u8; 20]) -> Result<Address, WorkError> {
    Address::from_bytes(*signer).map_err(|_| WorkError::NoSigner)
}

/// A transaction that reverted because the signer's role was revoked proves nothing about its items. The role is read at
/// that block, or at the head where the node dropped the state.
async fn revert_result(
    endpoint: &ChainClient,
    signer: &[u8; 20],
    receipt: &TransactionReceipt,
) -> Result<ItemResult, WorkError> {
    let signer = address(signer)?;
    Ok(if had_role(endpoint, &signer, receipt).await? {
        ItemResult::Reverted
    } else {
        ItemResult::Unauthorized
    })
}

async fn had_role(
    endpoint: &ChainClient,
    signer: &Address,
    receipt: &TransactionReceipt,
) -> Result<bool, ChainError> {
    match endpoint
        .may_execute(signer, BlockRef::Hash(receipt.block_hash))
        .await
    {
        Err(ChainError::UnknownBlock) => endpoint.may_execute(signer, BlockRef::Latest).await,
        found => found,
    }
}

/// The chain is past the nonce, whoever used it.
const fn is_used(nonce: u64, next: u64) -> bool {
    nonce < next
}
