//! The database's state of every intent, page by page, to be compared with the chain.

use domain::ids::{IntentId, Preimage};
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{DbSession, query, query_one};

/// One intent with both legs, its first payment and its open exceptions.
#[derive(Clone, Debug)]
pub struct ReconcileRow {
    /// The id of the row; the caller checks whether the other fields hash to it.
    pub intent_id: IntentId,
    pub preimage: Preimage,
    pub created_at: OffsetDateTime,
    pub leg: String,
    pub is_final: bool,
    pub block_number: Option<i64>,
    /// The callback service's copy of the leg.
    pub decided_leg: Option<String>,
    pub payment: String,
    pub receipt: Option<String>,
    pub paid_shillings: Option<u64>,
    /// An open exception that stops the txRef.
    pub held: bool,
    /// An `owed_to_payer` of the first receipt: open, or resolved by a person.
    pub owed_open: bool,
    pub owed_settled: bool,
}

/// Sums over all payments, whole shillings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReceivedTotals {
    pub received: u64,
    pub owed_open: u64,
    pub owed_settled: u64,
    /// Payments whose txRef no intent has, without an `owed_to_payer` exception.
    pub orphaned: u64,
}

statements! {
    PAGE = "\
select i.intent_id, i.chain_id, i.escrow, i.depositor, i.user_address, i.amount::text as amount, i.country_code, i.tx_ref,
       i.created_at, coalesce(l.leg, 'queued') as leg, coalesce(l.final, false) as final, l.block_number,
       d.chain_leg as decided_leg, coalesce(d.payment_leg, 'awaiting') as payment,
       p.receipt, p.amount_shillings::text as paid_shillings,
       exists (select from exceptions e where e.tx_ref = i.tx_ref and e.is_hold and e.resolved_at is null) as held,
       exists (select from exceptions e where e.tx_ref = i.tx_ref and e.kind = 'owed_to_payer'
               and (e.receipt is null or e.receipt = p.receipt) and e.resolved_at is null) as owed_open,
       exists (select from exceptions e where e.tx_ref = i.tx_ref and e.kind = 'owed_to_payer'
               and (e.receipt is null or e.receipt = p.receipt) and e.resolved_at is not null) as owed_settled
from mint_intents i
left join chain_legs l on l.intent_id = i.intent_id
left join decisions d on d.tx_ref = i.tx_ref
left join payments p on p.tx_ref = i.tx_ref and p.is_first
where i.intent_id > $1 order by i.intent_id limit $2";

    RECEIVED_TOTALS = "\
select (select coalesce(sum(amount_shillings), 0)::text from payments) as received,
       (select coalesce(sum(amount_shillings), 0)::text from exceptions
        where kind = 'owed_to_payer' and resolved_at is null) as owed_open,
       (select coalesce(sum(amount_shillings), 0)::text from exceptions
        where kind = 'owed_to_payer' and resolved_at is not null) as owed_settled,
       (select coalesce(sum(p.amount_shillings), 0)::text from payments p
        where not exists (select from mint_intents i where i.tx_ref = p.tx_ref)
          and not exists (select from exceptions e where e.kind = 'owed_to_payer' and e.receipt = p.receipt)) as orphaned";
}

/// Makes all reads of this transaction use one snapshot. Call it first.
pub async fn use_snapshot(tx: &DbTransaction<'_>) -> Result<(), StorageError> {
    Ok(tx
        .batch_execute("set transaction isolation level repeatable read, read only")
        .await?)
}

/// Up to `limit` intents after `after`, in the order of their ids.
pub async fn page(
    session: &impl DbSession,
    after: &[u8],
    limit: i64,
) -> Result<Vec<ReconcileRow>, StorageError> {
    let rows = query(session, PAGE, &[&after, &limit]).await?;
    rows.iter().map(read).collect()
}

pub async fn received_totals(session: &impl DbSession) -> Result<ReceivedTotals, StorageError> {
    let row = query_one(session, RECEIVED_TOTALS, &[]).await?;
    let reader = RowReader::new(&row, "payments", "sums");
    Ok(ReceivedTotals {
        received: reader.sum("received")?,
        owed_open: reader.sum("owed_open")?,
        owed_settled: reader.sum("owed_settled")?,
        orphaned: reader.sum("orphaned")?,
    })
}

fn read(row: &Row) -> Result<ReconcileRow, StorageError> {
    let tx_ref: String = row.try_get("tx_ref")?;
    let reader = RowReader::new(row, "mint_intents", &tx_ref);
    let address = |column| {
        let bytes = reader.bytes::<20>(column)?;
        domain::address::Address::from_bytes(bytes).map_err(|error| reader.corrupt(column, &error))
    };
    Ok(ReconcileRow {
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
        leg: reader.get("leg")?,
        is_final: reader.get("final")?,
        block_number: reader.get("block_number")?,
        decided_leg: reader.get("decided_leg")?,
        payment: reader.get("payment")?,
        receipt: reader.get("receipt")?,
        paid_shillings: reader.parse_opt("paid_shillings")?,
        held: reader.get("held")?,
        owed_open: reader.get("owed_open")?,
        owed_settled: reader.get("owed_settled")?,
    })
}
