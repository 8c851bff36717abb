//! `dead_letter_actions`: what was done to each dead letter; and what the services' tables say about one.

use std::collections::HashMap;

use domain::ids::{IntentId, MessageId, ReportId};
use time::OffsetDateTime;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::error::StorageError;
use crate::row::Reader;
use crate::session::{Session, execute, query, query_one};

/// Who does what, and why: the same for every entry of one command.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    pub id: Uuid,
    pub who: &'a str,
    pub why: &'a str,
    /// Decided by a rule, not by a person.
    pub automatic: bool,
}

/// One entry about to be acted upon.
#[derive(Clone, Debug)]
pub struct NewAct {
    /// `replay`, `close`, `discard` or `reseal`.
    pub act: &'static str,
    pub queue: &'static str,
    pub entry_id: String,
    pub message_id: Option<MessageId>,
    pub new_message_id: Option<MessageId>,
    pub intent_id: Option<IntentId>,
    pub tx_ref: Option<String>,
    pub class: String,
    pub note: Option<String>,
}

/// How an act ended.
#[derive(Clone, Debug)]
pub struct Ended {
    pub id: i64,
    pub error: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActRow {
    pub id: i64,
    pub run_id: Uuid,
    pub at: OffsetDateTime,
    pub who: String,
    pub why: String,
    pub automatic: bool,
    pub act: String,
    pub queue: String,
    pub entry_id: String,
    pub new_message_id: Option<Uuid>,
    pub intent_id: Option<Vec<u8>>,
    pub tx_ref: Option<String>,
    pub class: String,
    pub note: Option<String>,
    pub state: String,
    pub error: Option<String>,
    pub came_back_at: Option<OffsetDateTime>,
}

/// Which acts to list; `None` is "any".
#[derive(Clone, Debug, Default)]
pub struct Filter<'a> {
    pub run_id: Option<Uuid>,
    /// An entry's id, or the id of the message that went out instead.
    pub entry_id: Option<&'a str>,
    pub tx_ref: Option<&'a str>,
    pub limit: i64,
}

statements! {
    BEGIN = "\
insert into dead_letter_actions
    (run_id, actor, reason, is_automatic, action, queue, entry_id, message_id, new_message_id, intent_id, tx_ref,
     error_class, note)
select $1::uuid, $2::text, $3::text, $4::boolean, t.* from unnest(
    $5::text[], $6::text[], $7::text[], $8::uuid[], $9::uuid[], $10::bytea[], $11::text[], $12::text[], $13::text[]) as t
returning id";
    END = "\
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
    CAME_BACK = "\
update dead_letter_actions set parked_again_at = clock_timestamp()
where new_message_id = any($1::uuid[]) and parked_again_at is null and action = 'replay'";
    // How often the messages that an entry follows from were replayed, itself included.
    REPLAYS = "\
with recursive line (entry, message_id, replays) as (
    select m, m, 0 from unnest($1::uuid[]) as m
    union
    select l.entry, a.message_id, l.replays + 1
    from line l join dead_letter_actions a on a.new_message_id = l.message_id and a.action = 'replay' and a.state <> 'failed'
    where l.replays < 1000)
select entry, max(replays)::bigint as replays from line group by entry";
    AUTOMATIC = "\
select count(*) as replayed, count(parked_again_at) as came_back,
       extract(epoch from clock_timestamp() - max(parked_again_at))::float8 as since
from dead_letter_actions
where is_automatic and action = 'replay' and state <> 'failed' and started_at > clock_timestamp() - make_interval(secs => $1::float8)";
    LEGS = "select intent_id, leg, final from chain_legs where intent_id = any($1::bytea[])";
    SEQUENCES = "\
select intent_id, outcome_sequence from decisions
where tx_ref = any($1::text[]) and intent_id is not null and outcome_sequence is not null";
    OUTCOMES = "select report_id, outcome from report_outcomes where report_id = any($1::uuid[])";
}

/// Writes the intention down; the rows' ids, in the order given.
pub async fn begin(session: &impl Session, run: &Run<'_>, acts: &[NewAct]) -> Result<Vec<i64>, StorageError> {
    if acts.is_empty() {
        return Ok(Vec::new());
    }
    let text = |f: fn(&NewAct) -> &str| acts.iter().map(f).collect::<Vec<&str>>();
    let uuids = |f: fn(&NewAct) -> Option<MessageId>| {
        acts.iter()
            .map(|act| f(act).map(|id| id.0))
            .collect::<Vec<Option<Uuid>>>()
    };
    let intents: Vec<Option<&[u8]>> = acts
        .iter()
        .map(|act| act.intent_id.as_ref().map(|id| id.as_bytes().as_slice()))
        .collect();
    let tx_refs: Vec<Option<&str>> = acts.iter().map(|act| act.tx_ref.as_deref()).collect();
    let notes: Vec<Option<&str>> = acts.iter().map(|act| act.note.as_deref()).collect();
    let rows = query(
        session,
        BEGIN,
        &[
            &run.id,
            &run.who,
            &run.why,
            &run.automatic,
            &text(|act| act.act),
            &text(|act| act.queue),
            &text(|act| &act.entry_id),
            &uuids(|act| act.message_id),
            &uuids(|act| act.new_message_id),
            &intents,
            &tx_refs,
            &text(|act| &act.class),
            &notes,
        ],
    )
    .await?;
    rows.iter().map(|row| Ok(row.try_get("id")?)).collect()
}

pub async fn end(session: &impl Session, ended: &[Ended]) -> Result<(), StorageError> {
    if !ended.is_empty() {
        let ids: Vec<i64> = ended.iter().map(|one| one.id).collect();
        let errors: Vec<Option<&str>> = ended.iter().map(|one| one.error.as_deref()).collect();
        execute(session, END, &[&ids, &errors]).await?;
    }
    Ok(())
}

/// Latest first.
pub async fn list(session: &impl Session, filter: &Filter<'_>) -> Result<Vec<ActRow>, StorageError> {
    let params: &[&(dyn tokio_postgres::types::ToSql + Sync)] =
        &[&filter.run_id, &filter.entry_id, &filter.tx_ref, &filter.limit];
    query(session, LIST, params).await?.iter().map(read).collect()
}

/// These messages were parked: marks the replays they come from, and tells for each how often it and what it follows
/// from was replayed.
pub async fn came_back(
    session: &impl Session,
    messages: &[MessageId],
) -> Result<HashMap<MessageId, u64>, StorageError> {
    let ids: Vec<Uuid> = messages.iter().map(|id| id.0).collect();
    execute(session, CAME_BACK, &[&ids]).await?;
    let rows = query(session, REPLAYS, &[&ids]).await?;
    rows.iter()
        .map(|row| {
            let id = MessageId(row.try_get("entry")?);
            let reader = Reader::new(row, "dead_letter_actions", id);
            Ok((id, reader.unsigned("replays")?))
        })
        .collect()
}

/// What automatic replays came to within a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Automatic {
    pub replayed: u64,
    pub came_back: u64,
    /// Since the last one came back.
    pub seconds_since: Option<f64>,
}

pub async fn automatic(session: &impl Session, within_seconds: f64) -> Result<Automatic, StorageError> {
    let row = query_one(session, AUTOMATIC, &[&within_seconds]).await?;
    let reader = Reader::new(&row, "dead_letter_actions", "automatic");
    Ok(Automatic {
        replayed: reader.unsigned("replayed")?,
        came_back: reader.unsigned("came_back")?,
        seconds_since: reader.get("since")?,
    })
}

/// The executor's legs: name, and whether it is final.
pub async fn legs(
    session: &impl Session,
    ids: &[IntentId],
) -> Result<HashMap<IntentId, (String, bool)>, StorageError> {
    let ids: Vec<&[u8]> = ids.iter().map(|id| id.as_bytes().as_slice()).collect();
    let rows = query(session, LEGS, &[&ids]).await?;
    rows.iter()
        .map(|row| {
            let reader = Reader::new(row, "chain_legs", "legs");
            let id = IntentId::from_bytes(reader.bytes("intent_id")?);
            Ok((id, (reader.get("leg")?, reader.get("final")?)))
        })
        .collect()
}

/// Sequence of the last outcome that each decision believed.
pub async fn believed(
    session: &impl Session,
    tx_refs: &[&str],
) -> Result<HashMap<IntentId, u64>, StorageError> {
    let rows = query(session, SEQUENCES, &[&tx_refs]).await?;
    rows.iter()
        .map(|row| {
            let reader = Reader::new(row, "decisions", "sequences");
            let id = IntentId::from_bytes(reader.bytes("intent_id")?);
            Ok((id, reader.unsigned("outcome_sequence")?))
        })
        .collect()
}

/// What became of stored reports.
pub async fn outcomes(
    session: &impl Session,
    ids: &[ReportId],
) -> Result<HashMap<ReportId, String>, StorageError> {
    let ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let rows = query(session, OUTCOMES, &[&ids]).await?;
    rows.iter()
        .map(|row| {
            let id = ReportId(row.try_get("report_id")?);
            Ok((id, Reader::new(row, "report_outcomes", id).get("outcome")?))
        })
        .collect()
}

fn read(row: &Row) -> Result<ActRow, StorageError> {
    let id = row.try_get("id")?;
    let reader = Reader::new(row, "dead_letter_actions", id);
    Ok(ActRow {
        id,
        run_id: reader.get("run_id")?,
        at: reader.get("started_at")?,
        who: reader.get("actor")?,
        why: reader.get("reason")?,
        automatic: reader.get("is_automatic")?,
        act: reader.get("action")?,
        queue: reader.get("queue")?,
        entry_id: reader.get("entry_id")?,
        new_message_id: reader.get("new_message_id")?,
        intent_id: reader.get("intent_id")?,
        tx_ref: reader.get("tx_ref")?,
        class: reader.get("error_class")?,
        note: reader.get("note")?,
        state: reader.get("state")?,
        error: reader.get("error")?,
        came_back_at: reader.get("parked_again_at")?,
    })
}
