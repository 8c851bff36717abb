//! The data of `GET /mint-intents/{id}`: one read-only join over the tables of all services.

use const_format::concatcp;
use domain::ids::IntentId;
use domain::intent::{ChainLeg, PaymentLeg};
use domain::money::Shillings;
use time::OffsetDateTime;

use super::intents::{self, MintIntent};
use crate::error::StorageError;
use crate::row::RowReader;
use crate::session::{DbSession, query, query_opt};
use crate::settled::TERMINAL_LEGS;

statements! {
    FIND = concatcp!("\
select i.intent_id, i.integrator, i.chain_id, i.escrow, i.depositor, i.user_address, i.amount::text as amount,
       i.country_code, i.tx_ref, i.idempotency_key, i.trace_parent, i.created_at,
       coalesce(m.mac_key_id, i.mac_key_id) as mac_key_id, coalesce(m.mac, i.mac) as mac,
       l.leg, l.final, l.tx_hash, l.block_number, l.reason,
       d.payment_leg, d.mint_refused,
       p.receipt, p.amount_shillings::text as paid_shillings, p.received_at as paid_at,
       (select min(h.occurred_at) from published.chain_leg_history h where h.intent_id = i.intent_id and h.to_leg = 'executed') as executed_at,
       array(select distinct h.to_leg from published.chain_leg_history h where h.intent_id = i.intent_id
             and h.to_leg in ", TERMINAL_LEGS, ") as ended
from mint_intents i
left join published.renewed_intent_macs m on m.intent_id = i.intent_id
left join published.chain_legs l on l.intent_id = i.intent_id
left join published.decisions d on d.tx_ref = i.tx_ref
left join published.payments p on p.tx_ref = i.tx_ref and p.is_first
where i.intent_id = $1");

    HISTORY = "\
select occurred_at as at, 'chain' as fact, to_leg as what, tx_hash from published.chain_leg_history where intent_id = $1
union all
select occurred_at, 'payment' as fact, event, null from published.decision_history where tx_ref = $2
order by at limit 200";
}

/// An intent with the state that all services store about it.
#[derive(Clone, Debug)]
pub struct IntentView {
    pub intent: MintIntent,
    pub chain_leg: ChainLeg,
    /// Every terminal state that the leg ever reached; a reorganisation past finality can undo one.
    pub ends_reached: Vec<ChainLeg>,
    pub tx_hash: Option<[u8; 32]>,
    pub block_number: Option<i64>,
    pub reason: Option<String>,
    pub payment_leg: PaymentLeg,
    pub mint_refused: bool,
    pub paid: Option<FirstPayment>,
    pub executed_at: Option<OffsetDateTime>,
    pub history: Vec<HistoryEntry>,
}

/// The first paid report of the txRef.
#[derive(Clone, Debug)]
pub struct FirstPayment {
    pub receipt: String,
    pub amount: Shillings,
    pub at: OffsetDateTime,
}

#[derive(Clone, Debug)]
pub struct HistoryEntry {
    pub at: OffsetDateTime,
    /// `chain` or `payment`.
    pub fact: String,
    pub what: String,
    pub tx_hash: Option<Vec<u8>>,
}

/// The intent of any integrator: the caller checks the owner once the MAC of the row is verified.
pub async fn find(session: &impl DbSession, id: &IntentId) -> Result<Option<IntentView>, StorageError> {
    let Some(row) = query_opt(session, FIND, &[&id.as_bytes().as_slice()]).await? else {
        return Ok(None);
    };
    let intent = intents::read(&row)?;
    let reader = RowReader::new(&row, "chain_legs", id);
    let leg: Option<&str> = reader.get("leg")?;
    let is_final: Option<bool> = reader.get("final")?;
    let chain = match leg {
        None => ChainLeg::Queued,
        Some(name) => ChainLeg::from_stored(name, is_final.unwrap_or(false))
            .ok_or_else(|| reader.corrupt("leg", &name))?,
    };
    let tx_hash: Option<&[u8]> = reader.get("tx_hash")?;
    let ended: Vec<&str> = reader.get("ended")?;
    let ended = ended
        .into_iter()
        .map(|name| ChainLeg::from_history(name).ok_or_else(|| reader.corrupt("to_leg", &name)))
        .collect::<Result<_, _>>()?;
    let history = history(session, id, intent.preimage.tx_ref.as_str()).await?;
    Ok(Some(IntentView {
        chain_leg: chain,
        ends_reached: ended,
        tx_hash: tx_hash
            .map(|bytes| {
                bytes
                    .try_into()
                    .map_err(|_| reader.corrupt("tx_hash", &"not 32 bytes"))
            })
            .transpose()?,
        block_number: reader.get("block_number")?,
        reason: reader.get("reason")?,
        payment_leg: reader.parse_opt("payment_leg")?.unwrap_or(PaymentLeg::Awaiting),
        mint_refused: reader.get::<Option<bool>>("mint_refused")?.unwrap_or(false),
        paid: first_payment(&reader)?,
        executed_at: reader.get("executed_at")?,
        history,
        intent,
    }))
}

fn first_payment(reader: &RowReader<'_>) -> Result<Option<FirstPayment>, StorageError> {
    let (receipt, at): (Option<String>, Option<OffsetDateTime>) =
        (reader.get("receipt")?, reader.get("paid_at")?);
    let amount = reader.parse_opt("paid_shillings")?;
    Ok(match (receipt, amount, at) {
        (Some(receipt), Some(amount), Some(at)) => Some(FirstPayment { receipt, amount, at }),
        _ => None,
    })
}

async fn history(
    session: &impl DbSession,
    id: &IntentId,
    tx_ref: &str,
) -> Result<Vec<HistoryEntry>, StorageError> {
    let rows = query(session, HISTORY, &[&id.as_bytes().as_slice(), &tx_ref]).await?;
    rows.iter()
        .map(|row| {
            let reader = RowReader::new(row, "chain_leg_history", id);
            Ok(HistoryEntry {
                at: reader.get("at")?,
                fact: reader.get("fact")?,
                what: reader.get("what")?,
                tx_hash: reader.get("tx_hash")?,
            })
        })
        .collect()
}
