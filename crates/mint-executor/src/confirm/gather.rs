//! Gathers everything about one block that the next steps depend on. On the happy path one request is enough: its logs.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chain::query::{BlockHeader, TransactionReceipt};
use chain::{BlockRef, ChainClient, ChainError, EscrowEvent, EscrowLog, TxHash};
use domain::address::Address;
use domain::ids::IntentId;
use domain::item_result::ItemResult;
use futures_util::future::join_all;
use storage::executor::attempts::{self, AttemptItemRow, AttemptRow};
use storage::executor::blocks;
use tokio::time::timeout;

use super::resend::Resender;
use crate::context::{Context, WorkError};
use crate::finality::final_block;
use crate::rules::next_step::OnChainRecord;

/// A block waits at most this long for one endpoint's answers about a transaction without a log.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Transactions that are looked up concurrently.
const MAX_CONCURRENT_LOOKUPS: usize = 32;

/// The facts about one block, read before the database transaction that applies them.
#[derive(Debug)]
pub struct BlockFacts {
    pub header: BlockHeader,
    pub logs: Vec<EscrowLog>,
    /// The highest block that is final now.
    pub final_block: Option<u64>,
    /// The count of mined transactions of each signer that was asked about.
    pub next_nonces: HashMap<[u8; 20], u64>,
    /// Attempts whose nonce is used although this block has no log of theirs, with their results.
    pub unexplained_attempts: Vec<(i64, ItemResult)>,
    /// Items that are permanently refused, or need a person, now that their block is final.
    pub ended: Vec<AttemptItemRow>,
    /// The escrow's records at this block, for the intents in question. `None` when the node dropped that state; then
    /// the legs, to which every log up to this block was applied, replace it.
    pub records: Option<HashMap<IntentId, OnChainRecord>>,
}

impl BlockFacts {
    /// Whether the block has a log of this attempt.
    fn has_log_of(&self, attempt: &AttemptRow) -> bool {
        self.logs
            .iter()
            .any(|log| *log.tx_hash.as_bytes() == attempt.tx_hash)
    }
}

/// `at_head` means that no higher block is known. Only then are the signers' counts read: full nodes drop the state of
/// older blocks, and an old count proves nothing about later transactions.
pub async fn gather(
    ctx: &Context,
    header: &BlockHeader,
    (resender, at_head): (&Resender, bool),
) -> Result<BlockFacts, WorkError> {
    let logs = ctx.chain.escrow_logs(header.hash).await?;
    let final_block = final_block(ctx, header).await?;
    let (open, ended) = {
        let client = ctx.pool.get().await?;
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
    let overdue =
        |attempt: &AttemptRow| !facts.has_log_of(attempt) && resender.is_overdue(attempt.id, header.number);
    if at_head {
        let late: HashSet<[u8; 20]> = open.iter().filter(|a| overdue(a)).map(|a| a.signer).collect();
        for signer in late {
            let next = ctx
                .chain
                .nonce(&address(&signer)?, BlockRef::Hash(header.hash))
                .await?;
            facts.next_nonces.insert(signer, next);
        }
        facts.unexplained_attempts = unexplained(ctx, &facts, &open).await?;
    }
    facts.records = match records(ctx, &facts).await {
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

fn address(signer: &[u8; 20]) -> Result<Address, WorkError> {
    Address::from_bytes(*signer).map_err(|_| WorkError::NoSigner)
}

/// Attempts whose nonce the chain has passed although this block has no log of theirs.
async fn unexplained(
    ctx: &Context,
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
    let at_head = endpoints_at(ctx, &facts.header).await?;
    let mut unexplained = Vec::new();
    for some in passed.chunks(MAX_CONCURRENT_LOOKUPS) {
        let results = some
            .iter()
            .map(|attempt| async { (attempt.id, attempt_result(ctx, &at_head, facts, attempt).await) });
        for (id, result) in join_all(results).await {
            unexplained.extend(result?.map(|result| (id, result)));
        }
    }
    Ok(unexplained)
}

/// The endpoints that have exactly this block.
async fn endpoints_at(ctx: &Context, header: &BlockHeader) -> Result<Vec<ChainClient>, WorkError> {
    let mut at_head = Vec::new();
    let mut failure = None;
    let each = ctx.chain.each_endpoint().into_iter().map(|endpoint| async {
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

/// Limits the time for the answers of one endpoint.
async fn with_deadline<T>(answer: impl Future<Output = Result<T, WorkError>>) -> Result<T, WorkError> {
    timeout(ANSWER_TIMEOUT, answer).await.unwrap_or_else(|_| {
        let why = format!("no answer within {ANSWER_TIMEOUT:?}");
        Err(ChainError::Unavailable(why).into())
    })
}

/// The status of an attempt at one endpoint.
enum AttemptStatus {
    Ended(ItemResult),
    /// A block of another fork holds it, so answers at our header do not fit.
    OnAnotherFork,
    /// A final block used its nonce, by no transaction of ours.
    NonceLost,
    Unknown,
}

/// One endpoint's receipt proves that the attempt was mined; that it was not, all of them must confirm. An endpoint that
/// cannot answer (it may be building its index) leaves the attempt open and delays nothing else of this block.
async fn attempt_result(
    ctx: &Context,
    at_head: &[ChainClient],
    facts: &BlockFacts,
    attempt: &AttemptRow,
) -> Result<Option<ItemResult>, WorkError> {
    let mut lost = !at_head.is_empty();
    let statuses = at_head
        .iter()
        .map(|endpoint| with_deadline(attempt_status(ctx, endpoint, facts, attempt)));
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
    ctx: &Context,
    endpoint: &ChainClient,
    facts: &BlockFacts,
    attempt: &AttemptRow,
) -> Result<AttemptStatus, WorkError> {
    let receipt = endpoint.receipt(TxHash::from_bytes(attempt.tx_hash)).await?;
    Ok(match receipt {
        Some(receipt) if !is_of_this_chain(ctx, &facts.header, &receipt).await? => {
            AttemptStatus::OnAnotherFork
        }
        Some(receipt) if receipt.succeeded => AttemptStatus::Ended(ItemResult::NoEvent),
        Some(receipt) => AttemptStatus::Ended(revert_result(endpoint, &attempt.signer, &receipt).await?),
        None if is_nonce_lost(ctx, endpoint, facts, attempt).await? => AttemptStatus::NonceLost,
        None => AttemptStatus::Unknown,
    })
}

/// A node may switch to another fork between our header and a receipt, and what is read at the header does not describe
/// that fork. The receipt counts if its block is our header, or lies below it and is a block that we ingested or one
/// deeper than any fork that we follow.
async fn is_of_this_chain(
    ctx: &Context,
    header: &BlockHeader,
    receipt: &TransactionReceipt,
) -> Result<bool, WorkError> {
    if receipt.block_number >= header.number {
        return Ok(receipt.block_hash == header.hash);
    }
    let ours = blocks::hash(&ctx.pool.get().await?, receipt.block_number).await?;
    Ok(ours.is_none_or(|hash| hash == *receipt.block_hash.as_bytes()))
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

/// Whether a final block used the nonce and no transaction of ours with that nonce has a receipt.
async fn is_nonce_lost(
    ctx: &Context,
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
    let hashes = attempts::hashes_of_nonce(&ctx.pool.get().await?, &attempt.signer, nonce).await?;
    for hash in hashes {
        if endpoint.receipt(TxHash::from_bytes(hash)).await?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Reads, with one request, the records of all intents whose state the logs leave open.
async fn records(ctx: &Context, facts: &BlockFacts) -> Result<HashMap<IntentId, OnChainRecord>, WorkError> {
    let mut ids: Vec<IntentId> = facts
        .logs
        .iter()
        .filter(|log| matches!(log.event, EscrowEvent::Skipped { .. }))
        .filter_map(|log| log.event.intent_id())
        .collect();
    ids.extend(facts.ended.iter().map(|item| item.intent_id));
    if !facts.unexplained_attempts.is_empty() {
        let attempt_ids: Vec<i64> = facts.unexplained_attempts.iter().map(|(id, _)| *id).collect();
        let items = attempts::items(&ctx.pool.get().await?, &attempt_ids).await?;
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
    let found = ctx.chain.intents(&ids, BlockRef::Hash(facts.header.hash)).await?;
    Ok(ids.into_iter().zip(found.into_iter().map(record)).collect())
}
