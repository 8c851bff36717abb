//! `dead_letter_actions`: the actions on each dead letter; and what the services' tables say about one.

use std::collections::HashMap;

use domain::ids::{IntentId, MessageId, ReportId};
use domain::intent::ChainLeg;
use domain::report_outcome::ReportOutcome;
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::error::StorageError;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query, query_one};

/// Who runs a command and why: the same for every dead letter of the run.
#[derive(Clone, Copy, Debug)]
pub struct OperatorRun<'a> {
    pub id: Uuid,
    pub actor: &'a str,
    pub reason: &'a str,
    /// Started by a rule, not by a person.
    pub is_automatic: bool,
}

/// An action on one dead letter, before it is carried out.
#[derive(Clone, Debug)]
pub struct NewDeadLetterAction {
    /// `replay`, `close`, `discard` or `reseal`.
    pub action: &'static str,
    pub queue: &'static str,
    pub entry_id: String,
    pub message_id: Option<MessageId>,
    pub new_message_id: Option<MessageId>,
    pub intent_id: Option<IntentId>,
    pub tx_ref: Option<String>,
    pub error_class: String,
    pub resolution_note: Option<String>,
}

/// The result of an action.
#[derive(Clone, Debug)]
pub struct ActionResult {
    pub id: i64,
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetterActionRow {
    pub id: i64,
    pub run_id: Uuid,
    pub started_at: OffsetDateTime,
    pub actor: String,
    pub reason: String,
    pub is_automatic: bool,
    pub action: String,
    pub queue: String,
    pub entry_id: String,
    pub new_message_id: Option<Uuid>,
    pub intent_id: Option<Vec<u8>>,
    pub tx_ref: Option<String>,
    pub error_class: String,
    pub resolution_note: Option<String>,
    pub state: String,
    pub error: Option<String>,
    pub parked_again_at: Option<OffsetDateTime>,
}

/// Which actions to list; `None` means any.
#[derive(Clone, Debug, Default)]
pub struct ActionFilter<'a> {
    pub run_id: Option<Uuid>,
    /// The id of a dead letter, or of the message that replaced it.
    pub entry_id: Option<&'a str>,
    pub tx_ref: Option<&'a str>,
    pub limit: i64,
}

statements! {
    START = "\
insert into dead_letter_actions
    (run_id, actor, reason, is_automatic, action, queue, entry_id, message_id, new_message_id, intent_id, tx_ref,
     error_class, note)
select $1::uuid, $2::text, $3::text, $4::boolean, t.* from unnest(
    $5::text[], $6::text[], $7::text[], $8::uuid[], $9::uuid[], $10::bytea[], $11::text[], $12::text[], $13::text[]) as t
returning id";
    FINISH = "\
update dead_letter_actions a set state = case when e.error is null then 'done' else 'failed' end, error = e.error,
       finished_at = clock_timestamp()
from unnest($1::bigint[], $2::text[]) as e (id, error) where a.id = e.id";
    LIST = "\
select id, run_id, started_at, actor, reason, is_automatic, action, queue, entry_id, new_message_id, intent_id, tx_ref,
       error_class, note, state, error, parked_again_at
from dead_letter_actions
where ($1::uuid is null or run_id = $1)
  and ($2::text is null or entry_id = $2 or new_message_id::text = $2)
  and ($3::text is null or tx_ref = $3)
order by id desc limit $4";
    RECORD_PARKED_AGAIN = "\
update dead_letter_actions set parked_again_at = clock_timestamp()
where new_message_id = any($1::uuid[]) and parked_again_at is null and action = 'replay'";
    // How often a message and the messages it replaced were replayed.
    REPLAYS = "\
with recursive line (entry, message_id, replays) as (
    select m, m, 0 from unnest($1::uuid[]) as m
    union
    select l.entry, a.message_id, l.replays + 1
    from line l join dead_letter_actions a on a.new_message_id = l.message_id and a.action = 'replay' and a.state <> 'failed'
    where l.replays < 1000)
select entry, max(replays)::bigint as replays from line group by entry";
    AUTOMATIC = "\
select count(*) as replayed, count(parked_again_at) as parked_again,
       extract(epoch from clock_timestamp() - max(parked_again_at))::float8 as since
from dead_letter_actions
where is_automatic and action = 'replay' and state <> 'failed' and started_at > clock_timestamp() - make_interval(secs => $1::float8)";
    LEGS = "select intent_id, leg, final from chain_legs where intent_id = any($1::bytea[])";
    SEQUENCES = "\
select intent_id, outcome_sequence from decisions
where tx_ref = any($1::text[]) and intent_id is not null and outcome_sequence is not null";
    OUTCOMES = "select report_id, outcome from report_outcomes where report_id = any($1::uuid[])";
}

/// Records the actions before they are carried out, and returns the ids of the rows in the order given.
pub async fn start(
    session: &impl DbSession,
    run: &OperatorRun<'_>,
    acts: &[NewDeadLetterAction],
) -> Result<Vec<i64>, StorageError> {
    if acts.is_empty() {
        return Ok(Vec::new());
    }
    let text = |f: fn(&NewDeadLetterAction) -> &str| acts.iter().map(f).collect::<Vec<&str>>();
    let uuids = |f: fn(&NewDeadLetterAction) -> Option<MessageId>| {
        acts.iter()
            .map(|act| f(act).map(|id| id.0))
            .collect::<Vec<Option<Uuid>>>()
    };
    let intents: Vec<Option<&[u8]>> = acts
        .iter()
        .map(|act| act.intent_id.as_ref().map(|id| id.as_bytes().as_slice()))
        .collect();
    let tx_refs: Vec<Option<&str>> = acts.iter().map(|act| act.tx_ref.as_deref()).collect();
    let notes: Vec<Option<&str>> = acts.iter().map(|act| act.resolution_note.as_deref()).collect();
    let rows = query(
        session,
        START,
        &[
            &run.id,
            &run.actor,
            &run.reason,
            &run.is_automatic,
            &text(|act| act.action),
            &text(|act| act.queue),
            &text(|act| &act.entry_id),
            &uuids(|act| act.message_id),
            &uuids(|act| act.new_message_id),
            &intents,
            &tx_refs,
            &text(|act| &act.error_class),
            &notes,
        ],
    )
    .await?;
    rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
}

pub async fn finish(session: &impl DbSession, ended: &[ActionResult]) -> Result<(), StorageError> {
    if !ended.is_empty() {
        let ids: Vec<i64> = ended.iter().map(|one| one.id).collect();
        let errors: Vec<Option<&str>> = ended.iter().map(|one| one.error.as_deref()).collect();
        execute(session, FINISH, &[&ids, &errors]).await?;
    }
    Ok(())
}

/// Latest first.
pub async fn list(
    session: &impl DbSession,
    filter: &ActionFilter<'_>,
) -> Result<Vec<DeadLetterActionRow>, StorageError> {
    let params: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&filter.run_id, &filter.entry_id, &filter.tx_ref, &filter.limit];
    query(session, LIST, params).await?.iter().map(read).collect()
}

/// Records that these messages were parked again, and returns for each how often it and the messages it replaced were
/// replayed.
pub async fn record_parked_again(
    session: &impl DbSession,
    messages: &[MessageId],
) -> Result<HashMap<MessageId, u64>, StorageError> {
    let ids: Vec<Uuid> = messages.iter().map(|id| id.0).collect();
    execute(session, RECORD_PARKED_AGAIN, &[&ids]).await?;
    let rows = query(session, REPLAYS, &[&ids]).await?;
    rows.iter()
        .map(|row| {
            let id = MessageId(row.try_get("entry")?);
            let reader = RowReader::new(row, "dead_letter_actions", id);
            Ok((id, reader.unsigned("replays")?))
        })
        .collect()
}

/// Results of automatic replays in a period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct AutomaticReplayStats {
    pub replayed: u64,
    pub parked_again: u64,
    /// Time since the last one was parked again.
    pub seconds_since: Option<f64>,
}

pub async fn automatic_replay_stats(
    session: &impl DbSession,
    within_seconds: f64,
) -> Result<AutomaticReplayStats, StorageError> {
    let row = query_one(session, AUTOMATIC, &[&within_seconds]).await?;
    let reader = RowReader::new(&row, "dead_letter_actions", "automatic");
    Ok(AutomaticReplayStats {
        replayed: reader.unsigned("replayed")?,
        parked_again: reader.unsigned("parked_again")?,
        seconds_since: reader.get("since")?,
    })
}

/// The executor's chain legs.
pub async fn legs(
    session: &impl DbSession,
    ids: &[IntentId],
) -> Result<HashMap<IntentId, ChainLeg>, StorageError> {
    let ids: Vec<&[u8]> = ids.iter().map(|id| id.as_bytes().as_slice()).collect();
    let rows = query(session, LEGS, &[&ids]).await?;
    rows.iter()
        .map(|row| {
            let reader = RowReader::new(row, "chain_legs", "legs");
            let id = IntentId::from_bytes(reader.bytes("intent_id")?);
            let name: &str = reader.get("leg")?;
            let leg = ChainLeg::from_stored(name, reader.get("final")?);
            Ok((id, leg.ok_or_else(|| reader.corrupt("leg", &name))?))
        })
        .collect()
}

/// Sequence number of the last outcome that each decision accepted.
pub async fn accepted_sequences(
    session: &impl DbSession,
    tx_refs: &[&str],
) -> Result<HashMap<IntentId, u64>, StorageError> {
    let rows = query(session, SEQUENCES, &[&tx_refs]).await?;
    rows.iter()
        .map(|row| {
            let reader = RowReader::new(row, "decisions", "sequences");
            let id = IntentId::from_bytes(reader.bytes("intent_id")?);
            Ok((id, reader.unsigned("outcome_sequence")?))
        })
        .collect()
}

/// The outcomes of stored reports.
pub async fn outcomes(
    session: &impl DbSession,
    ids: &[ReportId],
) -> Result<HashMap<ReportId, ReportOutcome>, StorageError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = query(session, OUTCOMES, &[&ids]).await?;
    rows.iter()
        .map(|row| {
            let id = ReportId(row.try_get("report_id")?);
            Ok((id, RowReader::new(row, "report_outcomes", id).parse("outcome")?))
        })
        .collect()
}

fn read(row: &Row) -> Result<DeadLetterActionRow, StorageError> {
    let id = row.try_get("id")?;
    let reader = RowReader::new(row, "dead_letter_actions", id);
    Ok(DeadLetterActionRow {
        id,
        run_id: reader.get("run_id")?,
        started_at: reader.get("started_at")?,
        actor: reader.get("actor")?,
        reason: reader.get("reason")?,
        is_automatic: reader.get("is_automatic")?,
        action: reader.get("action")?,
        queue: reader.get("queue")?,
        entry_id: reader.get("entry_id")?,
        new_message_id: reader.get("new_message_id")?,
        intent_id: reader.get("intent_id")?,
        tx_ref: reader.get("tx_ref")?,
        error_class: reader.get("error_class")?,
        resolution_note: reader.get("note")?,
        state: reader.get("state")?,
        error: reader.get("error")?,
        parked_again_at: reader.get("parked_again_at")?,
    })
}
