//! Everything about one block that what follows depends on. On the happy path that is one question: its logs.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use chain::watch::{Header, Receipt};
use chain::{At, Chain, ChainError, EscrowEvent, EscrowLog, TxHash};
use domain::address::Address;
use domain::ids::IntentId;
use futures_util::future::join_all;
use storage::executor::attempts::{self, AttemptItem, AttemptRow};
use storage::executor::blocks;
use tokio::time::timeout;

use super::resend::Resender;
use crate::context::{Context, WorkError};
use crate::decide::{Ending, Record};
use crate::finality::final_block;

/// So long a block waits for what one endpoint says of a transaction that it does not tell of: a few short questions.
const ANSWERS_WITHIN: Duration = Duration::from_secs(3);
/// Transactions asked about at once.
const AT_ONCE: usize = 32;

/// Read before the transaction that settles them.
#[derive(Debug)]
pub struct Facts {
    pub header: Header,
    pub logs: Vec<EscrowLog>,
    /// The deepest block that is final now.
    pub final_block: Option<u64>,
    /// Each signer's count of mined transactions, where it was asked.
    pub next_nonces: HashMap<[u8; 20], u64>,
    /// Attempts whose nonce is used, without a log of theirs in this block.
    pub quiet: Vec<(i64, Ending)>,
    /// Items that a block which is final now refused for good, or left to a person.
    pub ended: Vec<AttemptItem>,
    /// What storage held at this block, for the intents in question. `None`: the node holds that state no longer,
    /// and the legs, which saw every log up to this block, stand in for it.
    pub records: Option<HashMap<IntentId, Record>>,
}

impl Facts {
    /// The block has a log of this attempt.
    fn tell_of(&self, attempt: &AttemptRow) -> bool {
        self.logs
            .iter()
            .any(|log| *log.tx_hash.as_bytes() == attempt.tx_hash)
    }
}

/// `at_head`: nothing is known above this block. Only then is a signer's count asked for: full nodes drop the
/// state of older blocks, and a count of long ago proves nothing about what was sent since.
pub async fn gather(
    ctx: &Context,
    header: &Header,
    (resender, at_head): (&Resender, bool),
) -> Result<Facts, WorkError> {
    let logs = ctx.chain.escrow_logs(header.hash).await?;
    let final_block = final_block(ctx, header).await?;
    let (open, ended) = {
        let client = ctx.pool.get().await?;
        let open = attempts::open(&client).await?;
        let ended = match final_block {
            Some(block) => attempts::ended(&client, block).await?,
            None => Vec::new(),
        };
        (open, ended)
    };
    let mut facts = Facts {
        header: *header,
        logs,
        final_block,
        next_nonces: HashMap::new(),
        quiet: Vec::new(),
        ended,
        records: Some(HashMap::new()),
    };
    let overdue =
        |attempt: &AttemptRow| !facts.tell_of(attempt) && resender.is_overdue(attempt.id, header.number);
    if at_head {
        let late: HashSet<[u8; 20]> = open.iter().filter(|a| overdue(a)).map(|a| a.signer).collect();
        for signer in late {
            let next = ctx
                .chain
                .nonce(&address(&signer)?, At::Block(header.hash))
                .await?;
            facts.next_nonces.insert(signer, next);
        }
        facts.quiet = quiet(ctx, &facts, &open).await?;
    }
    facts.records = match records(ctx, &facts).await {
        // However a node words it: below the head the legs know as much, and the head can be asked.
        Err(WorkError::Chain(error)) if !at_head && !matches!(error, ChainError::Unavailable(_)) => {
            // They come again with the next block.
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

/// Attempts past whose nonce the chain is, without a word of them in this block.
async fn quiet(ctx: &Context, facts: &Facts, open: &[AttemptRow]) -> Result<Vec<(i64, Ending)>, WorkError> {
    let passed: Vec<&AttemptRow> = open
        .iter()
        .filter(|attempt| {
            facts
                .next_nonces
                .get(&attempt.signer)
                .is_some_and(|next| attempt.nonce < *next)
        })
        .filter(|attempt| !facts.tell_of(attempt))
        .collect();
    if passed.is_empty() {
        return Ok(Vec::new());
    }
    // "Not there" must not come from a node that lags, nor from one alone where another knows better.
    let level = level(ctx, &facts.header).await?;
    let mut quiet = Vec::new();
    for some in passed.chunks(AT_ONCE) {
        let endings = some
            .iter()
            .map(|attempt| async { (attempt.id, ending(ctx, &level, facts, attempt).await) });
        for (id, ending) in join_all(endings).await {
            quiet.extend(ending?.map(|ending| (id, ending)));
        }
    }
    Ok(quiet)
}

/// Endpoints that have the very block we look at.
async fn level(ctx: &Context, header: &Header) -> Result<Vec<Chain>, WorkError> {
    let mut level = Vec::new();
    let mut silent = None;
    let each = ctx
        .chain
        .each()
        .into_iter()
        .map(|one| async { (in_time(async { Ok(one.header(header.number).await?) }).await, one) });
    for (there, one) in join_all(each).await {
        match there {
            Ok(Some(there)) if there.hash == header.hash => level.push(one),
            Ok(_) => {}
            Err(error) => silent = Some(error),
        }
    }
    match silent {
        Some(error) if level.is_empty() => Err(error),
        _ => Ok(level),
    }
}

/// What one endpoint says, if it says it soon.
async fn in_time<T>(said: impl Future<Output = Result<T, WorkError>>) -> Result<T, WorkError> {
    timeout(ANSWERS_WITHIN, said).await.unwrap_or_else(|_| {
        let why = format!("no answer within {ANSWERS_WITHIN:?}");
        Err(ChainError::Unavailable(why).into())
    })
}

/// What one endpoint knows of an attempt.
enum Word {
    Ended(Ending),
    /// A block of another fork has it: nothing that is said at our header fits.
    Elsewhere,
    /// Its nonce is used for good, by no transaction of ours.
    Gone,
    NotKnown,
}

/// One endpoint's receipt is enough to say that it is there; that it is not, all of them must say. One that cannot answer
/// (it may be building its index) leaves the question open, and holds up nothing else of this block.
async fn ending(
    ctx: &Context,
    level: &[Chain],
    facts: &Facts,
    attempt: &AttemptRow,
) -> Result<Option<Ending>, WorkError> {
    let mut gone = !level.is_empty();
    let words = level.iter().map(|one| in_time(word(ctx, one, facts, attempt)));
    for word in join_all(words).await {
        match word {
            Ok(Word::Ended(ending)) => return Ok(Some(ending)),
            Ok(Word::Elsewhere) => return Ok(None),
            Ok(Word::Gone) => {}
            Ok(Word::NotKnown) => gone = false,
            Err(WorkError::Chain(error)) => {
                tracing::warn!(
                    tx_hash = %TxHash::from_bytes(attempt.tx_hash),
                    error = %runtime::chain(&error),
                    "an endpoint cannot say what became of a transaction: it is asked again with the next block"
                );
                gone = false;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(gone.then_some(Ending::Gone))
}

async fn word(ctx: &Context, one: &Chain, facts: &Facts, attempt: &AttemptRow) -> Result<Word, WorkError> {
    let receipt = one.receipt(TxHash::from_bytes(attempt.tx_hash)).await?;
    Ok(match receipt {
        Some(receipt) if !is_of_this_chain(ctx, &facts.header, &receipt).await? => Word::Elsewhere,
        Some(receipt) if receipt.succeeded => Word::Ended(Ending::Silent),
        Some(receipt) => Word::Ended(reverted(one, &attempt.signer, &receipt).await?),
        None if is_gone(ctx, one, facts, attempt).await? => Word::Gone,
        None => Word::NotKnown,
    })
}

/// A node may turn to another fork between the header that we look at and a receipt; what is read at the header knows
/// nothing of that fork. The receipt counts if its block is that header, or lies below it: as we took it in, or deeper
/// than the forks that we follow.
async fn is_of_this_chain(ctx: &Context, header: &Header, receipt: &Receipt) -> Result<bool, WorkError> {
    if receipt.block_number >= header.number {
        return Ok(receipt.block_hash == header.hash);
    }
    let ours = blocks::hash(&ctx.pool.get().await?, receipt.block_number).await?;
    Ok(ours.is_none_or(|hash| hash == *receipt.block_hash.as_bytes()))
}

/// A reverted transaction says nothing about its items when the signer's role was taken away. The role is read at that
/// block, or now where the node has dropped its state.
async fn reverted(one: &Chain, signer: &[u8; 20], receipt: &Receipt) -> Result<Ending, WorkError> {
    let signer = address(signer)?;
    let may = match one.may_execute(&signer, At::Block(receipt.block_hash)).await {
        Err(ChainError::UnknownBlock) => one.may_execute(&signer, At::Latest).await,
        found => found,
    };
    Ok(if may? { Ending::Reverted } else { Ending::Forbidden })
}

/// The nonce is used at a final block, and no hash of ours with that nonce has a receipt.
async fn is_gone(ctx: &Context, one: &Chain, facts: &Facts, attempt: &AttemptRow) -> Result<bool, WorkError> {
    let nonce = attempt.nonce;
    let Some(final_block) = facts.final_block else {
        return Ok(false);
    };
    let signer = address(&attempt.signer)?;
    match one.nonce(&signer, At::Number(final_block)).await {
        Ok(next) if next > nonce => {}
        // A node that does not hold that state proves nothing.
        Ok(_) | Err(ChainError::UnknownBlock) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    let hashes = attempts::hashes_of_nonce(&ctx.pool.get().await?, &attempt.signer, nonce).await?;
    for hash in hashes {
        if one.receipt(TxHash::from_bytes(hash)).await?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// One question for all intents whose state the logs leave open.
async fn records(ctx: &Context, facts: &Facts) -> Result<HashMap<IntentId, Record>, WorkError> {
    let mut ids: Vec<IntentId> = facts
        .logs
        .iter()
        .filter(|log| matches!(log.event, EscrowEvent::Skipped { .. }))
        .filter_map(|log| log.event.intent_id())
        .collect();
    ids.extend(facts.ended.iter().map(|item| item.intent_id));
    if !facts.quiet.is_empty() {
        let attempt_ids: Vec<i64> = facts.quiet.iter().map(|(id, _)| *id).collect();
        let items = attempts::items(&ctx.pool.get().await?, &attempt_ids).await?;
        ids.extend(items.iter().map(|item| item.intent_id));
    }
    ids.sort_unstable();
    ids.dedup();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let record = |found: Option<chain::watch::IntentOnChain>| {
        found.map_or(Record::Absent, |record| Record::Present(record.status))
    };
    let found = ctx.chain.intents(&ids, At::Block(facts.header.hash)).await?;
    Ok(ids.into_iter().zip(found.into_iter().map(record)).collect())
}
