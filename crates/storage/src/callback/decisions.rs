//! `decisions`: one row per txRef, the lock under which everything about it is decided; and its history.

use const_format::concatcp;
use domain::address::Address;
use domain::decision::LiveCommand;
use domain::ids::{IntentId, MessageId, Preimage};
use domain::intent::{ChainLeg, PaymentLeg};
use domain::tx_ref::TxRef;
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{DbSession, execute, execute_one, query_one, query_opt};

/// Nobody has saved the decision since it was read.
const VERSION_UNCHANGED: &str = "version = $2";

statements! {
    // A conflicting insert waits for the holder of the row and then locks it: one round trip either way.
    LOCK =
        "insert into decisions as d (tx_ref) values ($1) \
         on conflict (tx_ref) do update set tx_ref = excluded.tx_ref \
         returning d.tx_ref, d.intent_id, d.chain_leg, d.chain_final, d.outcome_sequence, d.payment_leg, d.mint_refused, \
         d.live_command, d.live_message_id, d.live_since, d.refund_commanded, d.redrive_count, d.version";
    // Runs after the row is locked, so that it sees what the previous holder committed.
    HELD = "select exists (select from exceptions where tx_ref = $1 and is_hold and resolved_at is null) as held";
    ATTEMPTED =
        "select exists (select from published.signed_commands t \
         where t.intent_id = $1 and t.command = 'submit') as attempted";
    INTENT =
        "select intent_id, chain_id, escrow, depositor, user_address, amount::text as amount, country_code, tx_ref, \
         created_at, trace_parent from published.mint_intents where tx_ref = $1";
    SAVE = concatcp!(
        "update decisions set intent_id = $3, chain_leg = $4, chain_final = $5, outcome_sequence = $6, payment_leg = $7, \
         mint_refused = $8, live_command = $9, live_message_id = $10, \
         live_since = case when $10::uuid is null then null \
         when live_message_id is distinct from $10 then clock_timestamp() else live_since end, \
         refund_commanded = $11, redrive_count = $12, version = version + 1, updated_at = clock_timestamp() \
         where tx_ref = $1 and ", VERSION_UNCHANGED
    );
    HISTORY =
        "insert into decision_history (tx_ref, occurred_at, event, cause, message_id) \
         select $1::text, clock_timestamp(), event, $3::text, $4::uuid from unnest($2::text[]) with ordinality as t(event, n) order by n";
}

/// The live command of the row, and the message that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IssuedCommand {
    pub command: LiveCommand,
    pub message_id: MessageId,
}

/// A locked row. Changed in memory, written back by [`save`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionRow {
    pub tx_ref: TxRef,
    /// `None` while the payment is an orphan.
    pub intent_id: Option<IntentId>,
    pub chain_leg: ChainLeg,
    /// Sequence number of the last accepted outcome.
    pub outcome_sequence: Option<u64>,
    pub payment_leg: PaymentLeg,
    pub mint_refused: bool,
    pub live_command: Option<IssuedCommand>,
    pub refund_commanded: bool,
    /// How often the live command was re-driven.
    pub redrive_count: i32,
    version: i64,
}

/// The intent row as the gateway wrote it; whether its fields hash to its id is for the reader to check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntentRow {
    pub intent_id: IntentId,
    pub preimage: Preimage,
    pub created_at: OffsetDateTime,
    /// W3C trace context of the request.
    pub trace_parent: Option<String>,
}

/// Locks the row of a txRef until the transaction ends; inserts it if it does not exist.
pub async fn lock(tx: &DbTransaction<'_>, tx_ref: &TxRef) -> Result<DecisionRow, StorageError> {
    let row = query_one(tx, LOCK, &[&tx_ref.as_str()]).await?;
    read(&row, tx_ref)
}

/// Whether an open exception stops every command of the txRef.
pub async fn is_held(tx: &DbTransaction<'_>, tx_ref: &TxRef) -> Result<bool, StorageError> {
    Ok(query_one(tx, HELD, &[&tx_ref.as_str()]).await?.try_get("held")?)
}

/// Whether the executor ever signed a deposit of this intent.
pub async fn deposit_attempted(tx: &DbTransaction<'_>, id: &IntentId) -> Result<bool, StorageError> {
    let row = query_one(tx, ATTEMPTED, &[&id.as_bytes().as_slice()]).await?;
    Ok(row.try_get("attempted")?)
}

pub async fn intent(session: &impl DbSession, tx_ref: &TxRef) -> Result<Option<IntentRow>, StorageError> {
    let row = query_opt(session, INTENT, &[&tx_ref.as_str()]).await?;
    row.map(|row| read_intent(&row, tx_ref)).transpose()
}

/// Writes the row back together with its history.
pub async fn save(
    tx: &DbTransaction<'_>,
    decision: &DecisionRow,
    history: &[String],
    cause: &str,
    message_id: Option<MessageId>,
) -> Result<(), StorageError> {
    let tx_ref = decision.tx_ref.as_str();
    let intent_id = decision.intent_id.as_ref().map(|id| id.as_bytes().as_slice());
    let sequence = decision.outcome_sequence.map(i64::try_from).transpose();
    let sequence = sequence.map_err(|_| StorageError::bug("a sequence does not fit"))?;
    let command = decision.live_command.map(|live| live.command.name());
    let live_id = decision.live_command.map(|live| live.message_id.0);
    execute_one(
        tx,
        SAVE,
        &[
            &tx_ref,
            &decision.version,
            &intent_id,
            &decision.chain_leg.name(),
            &decision.chain_leg.is_final(),
            &sequence,
            &decision.payment_leg.name(),
            &decision.mint_refused,
            &command,
            &live_id,
            &decision.refund_commanded,
            &decision.redrive_count,
        ],
        "the decision row",
    )
    .await?;
    if !history.is_empty() {
        let id: Option<Uuid> = message_id.map(|id| id.0);
        execute(tx, HISTORY, &[&tx_ref, &history, &cause, &id]).await?;
    }
    Ok(())
}

fn read(row: &Row, tx_ref: &TxRef) -> Result<DecisionRow, StorageError> {
    let reader = RowReader::new(row, "decisions", tx_ref);
    let intent_id: Option<&[u8]> = reader.get("intent_id")?;
    let intent_id = intent_id.map(IntentId::from_slice).transpose();
    let (leg, is_final): (&str, bool) = (reader.get("chain_leg")?, reader.get("chain_final")?);
    let sequence: Option<i64> = reader.get("outcome_sequence")?;
    let sequence = sequence.map(u64::try_from).transpose();
    let command: Option<LiveCommand> = reader.parse_opt("live_command")?;
    let message_id: Option<Uuid> = reader.get("live_message_id")?;
    let live = match (command, message_id) {
        (None, None) => None,
        (Some(command), Some(id)) => Some(IssuedCommand {
            command,
            message_id: MessageId(id),
        }),
        _ => {
            return Err(reader.corrupt("live_message_id", &"a command and its message go together"));
        }
    };
    Ok(DecisionRow {
        tx_ref: tx_ref.clone(),
        intent_id: intent_id.map_err(|error| reader.corrupt("intent_id", &error))?,
        chain_leg: ChainLeg::from_stored(leg, is_final)
            .ok_or_else(|| reader.corrupt("chain_leg", &"not a leg we ever wrote"))?,
        outcome_sequence: sequence.map_err(|error| reader.corrupt("outcome_sequence", &error))?,
        payment_leg: reader.parse("payment_leg")?,
        mint_refused: reader.get("mint_refused")?,
        live_command: live,
        refund_commanded: reader.get("refund_commanded")?,
        redrive_count: reader.get("redrive_count")?,
        version: reader.get("version")?,
    })
}

fn read_intent(row: &Row, tx_ref: &TxRef) -> Result<IntentRow, StorageError> {
    let reader = RowReader::new(row, "mint_intents", tx_ref);
    let address = |column| {
        let bytes = reader.bytes::<20>(column)?;
        Address::from_bytes(bytes).map_err(|error| reader.corrupt(column, &error))
    };
    Ok(IntentRow {
        intent_id: IntentId::from_bytes(reader.bytes("intent_id")?),
        preimage: Preimage {
            chain_id: reader.unsigned("chain_id")?,
            escrow: address("escrow")?,
            depositor: address("depositor")?,
            user: address("user_address")?,
            amount: reader.parse("amount")?,
            country_code: reader.parse("country_code")?,
            tx_ref: reader.parse("tx_ref")?,
        },
        created_at: reader.get("created_at")?,
        trace_parent: reader.get("trace_parent")?,
    })
}
