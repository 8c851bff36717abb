//! The chain leg of each intent. Every change is a legal transition, guarded by the row's version, and writes a
//! history row.

use std::time::Duration;

use const_format::concatcp;
use domain::ids::{IntentId, MessageId, Preimage};
use domain::intent::{Cause, ChainLeg, IllegalTransition};
use domain::item_result::LegReason;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query};

/// The signer after the change `c` of the leg `l`: the new one, if the change names one.
const NEWEST_SIGNER: &str = "coalesce(c.signer, l.signer)";

statements! {
    ENSURE =
        "insert into chain_legs (intent_id, tx_ref, preimage, leg, trace_parent) \
         select t.intent_id, t.tx_ref, t.preimage, 'queued', t.trace_parent \
         from unnest($1::bytea[], $2::text[], $3::text[], $4::text[]) as t(intent_id, tx_ref, preimage, trace_parent) \
         order by t.intent_id on conflict (intent_id) do nothing";
    LOCK =
        "select intent_id, tx_ref, preimage, leg, final, signer, tx_hash, block_number, reason, version, trace_parent, \
         extract(epoch from clock_timestamp() - updated_at)::float8 as quiet from chain_legs where intent_id = any($1::bytea[]) order by intent_id for update";
    LOCK_AWAITING_FINALITY =
        "select intent_id, tx_ref, preimage, leg, final, signer, tx_hash, block_number, reason, version, trace_parent, \
         extract(epoch from clock_timestamp() - updated_at)::float8 as quiet from chain_legs where leg in ('executed', 'refunded') and not final and block_number <= $1 \
         order by intent_id limit $2 for update";
    READ =
        "select intent_id, tx_ref, preimage, leg, final, signer, tx_hash, block_number, reason, version, trace_parent, \
         extract(epoch from clock_timestamp() - updated_at)::float8 as quiet from chain_legs where intent_id = any($1::bytea[]) order by intent_id";
    SAVE = concatcp!(
        "update chain_legs l set leg = c.leg, final = c.final, signer = ", NEWEST_SIGNER, ", \
         tx_hash = c.tx_hash, block_number = c.block_number, reason = c.reason, version = l.version + 1, \
         updated_at = clock_timestamp() \
         from unnest($1::bytea[], $2::bigint[], $3::text[], $4::boolean[], $5::bytea[], $6::bytea[], $7::bigint[], \
         $8::text[]) as c(intent_id, version, leg, final, signer, tx_hash, block_number, reason) \
         where l.intent_id = c.intent_id and l.version = c.version"
    );
    HISTORY =
        "insert into chain_leg_history (intent_id, occurred_at, from_leg, to_leg, cause, tx_hash, message_id) \
         select t.intent_id, clock_timestamp(), t.from_leg, t.to_leg, t.cause, t.tx_hash, t.message_id \
         from unnest($1::bytea[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::uuid[]) \
         with ordinality as t(intent_id, from_leg, to_leg, cause, tx_hash, message_id, n) order by t.n";
}

/// One leg, read under lock. Changes are collected here and written by [`save`].
#[derive(Clone, Debug)]
pub struct ChainLegRow {
    pub intent_id: IntentId,
    pub tx_ref: String,
    /// `None` when the stored fields do not hash to the id, because somebody edited the row.
    pub preimage: Option<Preimage>,
    pub leg: ChainLeg,
    pub signer: Option<[u8; 20]>,
    pub tx_hash: Option<[u8; 32]>,
    pub block_number: Option<u64>,
    pub reason: Option<LegReason>,
    /// Time since the last change, by the database's clock.
    pub unchanged_for: Duration,
    /// W3C trace context of the first command.
    pub trace_parent: Option<String>,
    version: i64,
    transitions: Vec<LegTransition>,
}

/// Why a leg changes, and the transaction or message that changes it.
#[derive(Clone, Copy, Debug, Default)]
pub struct TransitionReason {
    /// A short word for the history.
    pub name: &'static str,
    pub tx_hash: Option<[u8; 32]>,
    pub message_id: Option<MessageId>,
}

#[derive(Clone, Debug)]
struct LegTransition {
    from: &'static str,
    to: &'static str,
    transition_reason: TransitionReason,
}

impl ChainLegRow {
    /// Moves the leg if the transition is legal. A move to its present state changes nothing.
    pub fn advance(
        &mut self,
        to: ChainLeg,
        cause: Cause,
        transition_reason: TransitionReason,
    ) -> Result<bool, IllegalTransition> {
        if to == self.leg {
            return Ok(false);
        }
        let from = self.leg;
        self.leg = from.advance(to, cause)?;
        self.transitions.push(LegTransition {
            from: from.history_name(),
            to: to.history_name(),
            transition_reason,
        });
        if transition_reason.tx_hash.is_some() {
            self.tx_hash = transition_reason.tx_hash;
        }
        Ok(true)
    }

    /// Records a reason for the present state: together with the transition if there is one, else as a change of its own.
    pub fn record_reason(&mut self, reason: LegReason, transition_reason: TransitionReason) {
        self.reason = Some(reason);
        if self.is_changed() {
            return;
        }
        let here = self.leg.history_name();
        self.transitions.push(LegTransition {
            from: here,
            to: here,
            transition_reason,
        });
    }

    /// The row's version once this is saved: larger than at any time before.
    pub fn sequence(&self) -> u64 {
        u64::try_from(self.version).unwrap_or_default() + u64::from(self.is_changed())
    }

    /// Whether [`save`] has something to write.
    pub fn is_changed(&self) -> bool {
        !self.transitions.is_empty()
    }
}

/// Inserts a leg for each intent that has none. Each intent comes with the trace context of its command.
pub async fn ensure(
    tx: &DbTransaction<'_>,
    intents: &[(&Preimage, Option<&str>)],
) -> Result<(), StorageError> {
    if intents.is_empty() {
        return Ok(());
    }
    let ids: Vec<IntentId> = intents.iter().map(|(intent, _)| intent.intent_id()).collect();
    let ids: Vec<&[u8]> = ids.iter().map(|id| id.as_bytes().as_slice()).collect();
    let refs: Vec<&str> = intents.iter().map(|(intent, _)| intent.tx_ref.as_str()).collect();
    let traces: Vec<Option<&str>> = intents.iter().map(|(_, trace)| *trace).collect();
    let texts = intents
        .iter()
        .map(|(intent, _)| serde_json::to_string(intent).map_err(|e| StorageError::bug(e.to_string())))
        .collect::<Result<Vec<_>, _>>()?;
    execute(tx, ENSURE, &[&ids, &refs, &texts, &traces]).await?;
    Ok(())
}

/// Locks and returns the legs of these intents; all callers lock in the same order. Unknown intents are left out.
pub async fn lock(tx: &DbTransaction<'_>, ids: &[IntentId]) -> Result<Vec<ChainLegRow>, StorageError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    query(tx, LOCK, &[&bytes(ids)])
        .await?
        .iter()
        .map(read_row)
        .collect()
}

/// Locks and returns executed and refunded legs whose block has become final.
pub async fn lock_awaiting_finality(
    tx: &DbTransaction<'_>,
    final_block: u64,
    limit: u32,
) -> Result<Vec<ChainLegRow>, StorageError> {
    let rows = query(
        tx,
        LOCK_AWAITING_FINALITY,
        &[&to_bigint(final_block)?, &i64::from(limit)],
    )
    .await?;
    rows.iter().map(read_row).collect()
}

pub async fn read(session: &impl DbSession, ids: &[IntentId]) -> Result<Vec<ChainLegRow>, StorageError> {
    query(session, READ, &[&bytes(ids)])
        .await?
        .iter()
        .map(read_row)
        .collect()
}

/// Writes every changed leg and its history; [`StorageError::Conflict`] if a row changed since it was read.
pub async fn save(tx: &DbTransaction<'_>, legs: &[ChainLegRow]) -> Result<(), StorageError> {
    let changed: Vec<&ChainLegRow> = legs.iter().filter(|leg| leg.is_changed()).collect();
    if changed.is_empty() {
        return Ok(());
    }
    let ids: Vec<&[u8]> = changed
        .iter()
        .map(|leg| leg.intent_id.as_bytes().as_slice())
        .collect();
    let versions: Vec<i64> = changed.iter().map(|leg| leg.version).collect();
    let names: Vec<&str> = changed.iter().map(|leg| leg.leg.name()).collect();
    let finals: Vec<bool> = changed.iter().map(|leg| leg.leg.is_final()).collect();
    let signers: Vec<Option<&[u8]>> = changed
        .iter()
        .map(|leg| leg.signer.as_ref().map(<[u8; 20]>::as_slice))
        .collect();
    let hashes: Vec<Option<&[u8]>> = changed
        .iter()
        .map(|leg| leg.tx_hash.as_ref().map(<[u8; 32]>::as_slice))
        .collect();
    let blocks = changed
        .iter()
        .map(|leg| leg.block_number.map(to_bigint).transpose())
        .collect::<Result<Vec<_>, _>>()?;
    let reasons: Vec<Option<&str>> = changed
        .iter()
        .map(|leg| leg.reason.map(LegReason::name))
        .collect();
    let touched = execute(
        tx,
        SAVE,
        &[
            &ids, &versions, &names, &finals, &signers, &hashes, &blocks, &reasons,
        ],
    )
    .await?;
    if usize::try_from(touched).ok() != Some(changed.len()) {
        return Err(StorageError::stale("chain_legs"));
    }
    write_history(tx, &changed).await
}

async fn write_history(tx: &DbTransaction<'_>, changed: &[&ChainLegRow]) -> Result<(), StorageError> {
    let steps: Vec<(&ChainLegRow, &LegTransition)> = changed
        .iter()
        .flat_map(|leg| leg.transitions.iter().map(move |step| (*leg, step)))
        .collect();
    let ids: Vec<&[u8]> = steps
        .iter()
        .map(|(leg, _)| leg.intent_id.as_bytes().as_slice())
        .collect();
    let from: Vec<&str> = steps.iter().map(|(_, step)| step.from).collect();
    let to: Vec<&str> = steps.iter().map(|(_, step)| step.to).collect();
    let causes: Vec<&str> = steps
        .iter()
        .map(|(_, step)| step.transition_reason.name)
        .collect();
    let hashes: Vec<Option<&[u8]>> = steps
        .iter()
        .map(|(_, step)| step.transition_reason.tx_hash.as_ref().map(<[u8; 32]>::as_slice))
        .collect();
    let messages: Vec<Option<Uuid>> = steps
        .iter()
        .map(|(_, step)| step.transition_reason.message_id.map(|id| id.0))
        .collect();
    execute(tx, HISTORY, &[&ids, &from, &to, &causes, &hashes, &messages]).await?;
    Ok(())
}

pub(crate) fn read_row(row: &Row) -> Result<ChainLegRow, StorageError> {
    let raw: &[u8] = row.try_get("intent_id")?;
    let intent_id = IntentId::from_slice(raw).map_err(|e| StorageError::bug(e.to_string()))?;
    let reader = RowReader::new(row, "chain_legs", intent_id);
    let leg: &str = reader.get("leg")?;
    let block: Option<i64> = reader.get("block_number")?;
    let preimage: &str = reader.get("preimage")?;
    let preimage = serde_json::from_str::<Preimage>(preimage).ok();
    Ok(ChainLegRow {
        intent_id,
        tx_ref: reader.get("tx_ref")?,
        preimage: preimage.filter(|fields| fields.intent_id() == intent_id),
        leg: ChainLeg::from_stored(leg, reader.get("final")?).ok_or_else(|| reader.corrupt("leg", &leg))?,
        signer: fixed_bytes(&reader, "signer")?,
        tx_hash: fixed_bytes(&reader, "tx_hash")?,
        block_number: block
            .map(u64::try_from)
            .transpose()
            .map_err(|e| reader.corrupt("block_number", &e))?,
        reason: reader.parse_opt("reason")?,
        unchanged_for: Duration::try_from_secs_f64(reader.get("quiet")?).unwrap_or_default(),
        trace_parent: reader.get("trace_parent")?,
        version: reader.get("version")?,
        transitions: Vec::new(),
    })
}

fn fixed_bytes<const N: usize>(
    reader: &RowReader<'_>,
    column: &'static str,
) -> Result<Option<[u8; N]>, StorageError> {
    let bytes: Option<&[u8]> = reader.get(column)?;
    bytes
        .map(|b| {
            b.try_into()
                .map_err(|_| reader.corrupt(column, &"another length"))
        })
        .transpose()
}

pub(crate) fn bytes(ids: &[IntentId]) -> Vec<&[u8]> {
    ids.iter().map(|id| id.as_bytes().as_slice()).collect()
}

/// The column `intent_id` of rows of `table`.
pub(crate) fn intent_ids<C: FromIterator<IntentId>>(
    rows: &[Row],
    table: &'static str,
) -> Result<C, StorageError> {
    rows.iter()
        .map(|row| intent_id(&RowReader::new(row, table, "intent_id")))
        .collect()
}

pub(crate) fn intent_id(reader: &RowReader<'_>) -> Result<IntentId, StorageError> {
    let id: &[u8] = reader.get("intent_id")?;
    IntentId::from_slice(id).map_err(|error| reader.corrupt("intent_id", &error))
}

/// Converts a block number or nonce to SQL's `bigint`.
pub(crate) fn to_bigint(value: u64) -> Result<i64, StorageError> {
    i64::try_from(value).map_err(|_| StorageError::bug("a number past 2^63"))
}
