//! Everything the services store about an intent or a txRef, for a person who investigates it. The `...Record` types
//! are JSON that SQL builds.

use const_format::concatcp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::error::StorageError;
use crate::row::RowReader;
use crate::session::{DbSession, query, query_one, query_opt};
use crate::settled::TERMINAL_LEGS;

/// One intent of a list.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntentListRecord {
    pub intent_id: String,
    pub tx_ref: String,
    pub integrator: String,
    pub user: String,
    /// Base units.
    pub amount: String,
    pub stage: String,
    #[serde(rename = "final")]
    pub is_final: bool,
    pub payment: String,
    pub held: bool,
    pub created_at: String,
}

/// Which intents to list; `None` means any.
#[derive(Clone, Debug, Default)]
pub struct IntentFilter<'a> {
    pub stage: Option<&'a str>,
    pub payment: Option<&'a str>,
    pub integrator: Option<&'a str>,
    pub since: Option<OffsetDateTime>,
    pub limit: i64,
}

/// Everything in the tables of all services about one txRef.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntentDossier {
    pub tx_ref: String,
    pub intent: Option<IntentRecord>,
    pub chain: Option<ChainLegRecord>,
    pub decision: Option<DecisionRecord>,
    pub payments: Vec<PaymentRecord>,
    pub reports: Vec<ReportRecord>,
    pub exceptions: Vec<ExceptionRecord>,
    pub work: Vec<WorkItemRecord>,
    pub attempts: Vec<AttemptRecord>,
    /// Messages that wait to be sent: service and queue.
    pub outbox: Vec<OutboxRecord>,
    pub history: Vec<HistoryRecord>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IntentRecord {
    pub intent_id: String,
    pub integrator: String,
    pub chain_id: u64,
    pub escrow: String,
    pub depositor: String,
    pub user: String,
    pub amount: String,
    pub country_code: String,
    pub idempotency_key: String,
    pub trace_parent: Option<String>,
    pub created_at: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainLegRecord {
    pub leg: String,
    #[serde(rename = "final")]
    pub is_final: bool,
    pub signer: Option<String>,
    pub tx_hash: Option<String>,
    pub block_number: Option<i64>,
    pub reason: Option<String>,
    /// Every terminal state that the leg ever reached.
    pub ended: Vec<String>,
    pub updated_at: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DecisionRecord {
    pub payment: String,
    /// The callback service's copy of the chain leg.
    pub chain_leg: String,
    pub chain_final: bool,
    pub refused: bool,
    pub live_command: Option<String>,
    pub live_since: Option<String>,
    pub refund_commanded: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PaymentRecord {
    pub receipt: String,
    pub amount_shillings: String,
    pub first: bool,
    pub report_id: String,
    pub received_at: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReportRecord {
    pub report_id: String,
    pub key_id: String,
    pub receipt: Option<String>,
    pub amount_shillings: String,
    pub paid: bool,
    pub late: bool,
    pub outcome: Option<String>,
    pub received_at: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ExceptionRecord {
    pub id: i64,
    pub kind: String,
    pub detail: String,
    pub holds: bool,
    pub opened_at: String,
    pub resolved_at: Option<String>,
    pub resolution: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WorkItemRecord {
    pub message_id: String,
    pub command: String,
    pub state: String,
    pub attempts: i32,
    pub reason: Option<String>,
    pub created_at: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AttemptRecord {
    pub tx_hash: String,
    pub signer: String,
    pub nonce: i64,
    pub command: String,
    pub state: String,
    pub outcome: Option<String>,
    pub block_number: Option<i64>,
    pub created_at: String,
    pub last_broadcast_at: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboxRecord {
    pub service: String,
    pub queue: String,
    pub message_id: String,
    pub since: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryRecord {
    pub at: String,
    /// `intent`, `chain` or `payment`.
    pub fact: String,
    pub what: String,
    pub cause: String,
    pub tx_hash: Option<String>,
    pub message_id: Option<String>,
}

statements! {
    LIST = "\
select jsonb_build_object(
    'intentId', '0x' || encode(i.intent_id, 'hex'), 'txRef', i.tx_ref, 'integrator', i.integrator,
    'user', '0x' || encode(i.user_address, 'hex'), 'amount', i.amount::text, 'stage', coalesce(l.leg, 'queued'),
    'final', coalesce(l.final, false), 'payment', coalesce(d.payment_leg, 'awaiting'),
    'held', exists (select from exceptions e where e.tx_ref = i.tx_ref and e.is_hold and e.resolved_at is null),
    'createdAt', i.created_at) as document
from mint_intents i
left join chain_legs l on l.intent_id = i.intent_id
left join decisions d on d.tx_ref = i.tx_ref
where ($1::text is null or coalesce(l.leg, 'queued') = $1)
  and ($2::text is null or coalesce(d.payment_leg, 'awaiting') = $2)
  and ($3::text is null or i.integrator = $3)
  and ($4::timestamptz is null or i.created_at >= $4)
order by i.created_at desc limit $5";

    TX_REF_OF = "\
select tx_ref from mint_intents where intent_id = $1
union select tx_ref from chain_legs where intent_id = $1 limit 1";

    KNOWN = "\
select exists (select from mint_intents where tx_ref = $1) or exists (select from mpesa_reports where tx_ref = $1)
    or exists (select from decisions where tx_ref = $1) or exists (select from chain_legs where tx_ref = $1) as known";

    DOSSIER = concatcp!("\
with i as materialized (select * from mint_intents where tx_ref = $1),
     l as materialized (select * from chain_legs where tx_ref = $1),
     ids as (select intent_id from i union select intent_id from l)
select jsonb_build_object(
  'txRef', $1::text,
  'intent', (select jsonb_build_object(
      'intentId', '0x' || encode(i.intent_id, 'hex'), 'integrator', i.integrator, 'chainId', i.chain_id,
      'escrow', '0x' || encode(i.escrow, 'hex'), 'depositor', '0x' || encode(i.depositor, 'hex'),
      'user', '0x' || encode(i.user_address, 'hex'), 'amount', i.amount::text, 'countryCode', i.country_code,
      'idempotencyKey', i.idempotency_key, 'traceParent', i.trace_parent, 'createdAt', i.created_at) from i),
  'chain', (select jsonb_build_object(
      'leg', l.leg, 'final', l.final, 'signer', '0x' || encode(l.signer, 'hex'),
      'txHash', '0x' || encode(l.tx_hash, 'hex'), 'blockNumber', l.block_number, 'reason', l.reason,
      'ended', array(select distinct h.to_leg from chain_leg_history h where h.intent_id = l.intent_id
                     and h.to_leg in ", TERMINAL_LEGS, "),
      'updatedAt', l.updated_at) from l limit 1),
  'decision', (select jsonb_build_object(
      'payment', d.payment_leg, 'chainLeg', d.chain_leg, 'chainFinal', d.chain_final, 'refused', d.mint_refused,
      'liveCommand', d.live_command, 'liveSince', d.live_since, 'refundCommanded', d.refund_commanded)
      from decisions d where d.tx_ref = $1),
  'payments', (select coalesce(jsonb_agg(jsonb_build_object(
      'receipt', p.receipt, 'amountShillings', p.amount_shillings::text, 'first', p.is_first,
      'reportId', p.report_id, 'receivedAt', p.received_at) order by p.received_at), '[]')
      from payments p where p.tx_ref = $1),
  'reports', (select coalesce(jsonb_agg(jsonb_build_object(
      'reportId', r.report_id, 'keyId', r.key_id, 'receipt', r.receipt, 'amountShillings', r.amount_shillings::text,
      'paid', r.paid, 'late', r.late, 'outcome', o.outcome, 'receivedAt', r.received_at) order by r.received_at), '[]')
      from (select * from mpesa_reports where tx_ref = $1 order by received_at limit 50) r
      left join report_outcomes o on o.report_id = r.report_id),
  'exceptions', (select coalesce(jsonb_agg(jsonb_build_object(
      'id', e.id, 'kind', e.kind, 'detail', e.detail, 'holds', e.is_hold, 'openedAt', e.opened_at,
      'resolvedAt', e.resolved_at, 'resolution', e.resolution) order by e.id), '[]')
      from exceptions e where e.tx_ref = $1),
  'work', (select coalesce(jsonb_agg(jsonb_build_object(
      'messageId', w.message_id, 'command', w.command, 'state', w.state, 'attempts',
      (select count(*) from attempt_items t where t.message_id = w.message_id), 'class', w.error_class, 'reason', w.reason,
      'createdAt', w.created_at) order by w.created_at), '[]')
      from work_items w where w.intent_id in (select intent_id from ids)),
  'attempts', (select coalesce(jsonb_agg(jsonb_build_object(
      'txHash', '0x' || encode(a.tx_hash, 'hex'), 'signer', '0x' || encode(a.signer, 'hex'), 'nonce', a.nonce,
      'command', a.command, 'state', a.state, 'outcome', t.outcome, 'blockNumber', a.block_number,
      'createdAt', a.created_at, 'lastBroadcastAt', a.last_broadcast_at) order by a.id), '[]')
      from attempt_items t join attempts a on a.id = t.attempt_id
      where t.intent_id in (select intent_id from ids)),
  'outbox', (select coalesce(jsonb_agg(jsonb_build_object(
      'service', m.service, 'queue', m.queue, 'messageId', m.message_id, 'since', m.created_at)
      order by m.created_at), '[]')
      from (select 'gateway' as service, subject, queue, message_id, created_at from gateway_outbox
            union all select 'callback', subject, queue, message_id, created_at from callback_outbox
            union all select 'executor', subject, queue, message_id, created_at from executor_outbox
            union all select 'ops', subject, queue, message_id, created_at from ops_outbox) m
      where m.subject = $1 or m.subject in (select '0x' || encode(intent_id, 'hex') from ids)),
  'history', (select coalesce(jsonb_agg(jsonb_build_object(
      'at', h.at, 'fact', h.fact, 'what', h.what, 'cause', h.cause, 'txHash', '0x' || encode(h.tx_hash, 'hex'),
      'messageId', h.message_id) order by h.at, h.fact), '[]')
      from (select created_at as at, 'intent' as fact, 'accepted' as what, integrator as cause, null::bytea as tx_hash,
                   null::uuid as message_id from i
            union all
            select occurred_at, 'chain', from_leg || ' -> ' || to_leg, cause, tx_hash, message_id from chain_leg_history
            where intent_id in (select intent_id from ids)
            union all
            select occurred_at, 'payment', event, cause, null, message_id from decision_history where tx_ref = $1) h)
) as document");
}

/// Newest first.
pub async fn list(
    session: &impl DbSession,
    filter: &IntentFilter<'_>,
) -> Result<Vec<IntentListRecord>, StorageError> {
    let params: &[&(dyn tokio_postgres::types::ToSql + Sync)] = &[
        &filter.stage,
        &filter.payment,
        &filter.integrator,
        &filter.since,
        &filter.limit,
    ];
    let rows = query(session, LIST, params).await?;
    rows.iter()
        .map(|row| document(&RowReader::new(row, "mint_intents", "list")))
        .collect()
}

/// The txRef of an intent that any service knows.
pub async fn tx_ref_of(
    session: &impl DbSession,
    intent_id: &[u8; 32],
) -> Result<Option<String>, StorageError> {
    let row = query_opt(session, TX_REF_OF, &[&intent_id.as_slice()]).await?;
    Ok(row.map(|row| row.try_get("tx_ref")).transpose()?)
}

/// `None` for a txRef that is in no table.
pub async fn dossier(session: &impl DbSession, tx_ref: &str) -> Result<Option<IntentDossier>, StorageError> {
    let known: bool = query_one(session, KNOWN, &[&tx_ref]).await?.try_get("known")?;
    if !known {
        return Ok(None);
    }
    let row = query_one(session, DOSSIER, &[&tx_ref]).await?;
    document(&RowReader::new(&row, "mint_intents", tx_ref)).map(Some)
}

fn document<T: DeserializeOwned>(reader: &RowReader<'_>) -> Result<T, StorageError> {
    let value: serde_json::Value = reader.get("document")?;
    serde_json::from_value(value).map_err(|error| reader.corrupt("document", &error))
}
