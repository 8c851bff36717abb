//! The database's state of every intent, page by page, to be compared with the chain.

use const_format::concatcp;
use domain::fate::{Debt, Holds};
use domain::ids::{IntentId, Preimage};
use domain::intent::{ChainLeg, PaymentLeg};
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::error::StorageError;
use crate::fate::{DEBTS, FACTS, HOLDS, read_debt, read_holds};
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{DbSession, query};

/// One intent with both legs, its first payment and its open exceptions.
#[derive(Clone, Debug)]
pub struct ReconcileRow {
    /// The id of the row; the caller checks whether the other fields hash to it.
    pub intent_id: IntentId,
    pub preimage: Preimage,
    pub created_at: OffsetDateTime,
    pub leg: ChainLeg,
    pub block_number: Option<i64>,
    pub payment: PaymentLeg,
    pub receipt: Option<String>,
    pub paid_shillings: Option<u64>,
    /// What is owed for the first receipt.
    pub debt: Debt,
    pub holds: Holds,
}

statements! {
    PAGE = concatcp!(
        "select i.intent_id, i.chain_id, i.escrow, i.depositor, i.user_address, i.amount::text as amount, \
         i.country_code, i.tx_ref, i.created_at, coalesce(l.leg, 'queued') as leg, coalesce(l.final, false) as final, \
         l.block_number, coalesce(d.payment_leg, 'awaiting') as payment, p.receipt, \
         p.amount_shillings::text as paid_shillings, ", FACTS, " \
         from mint_intents i \
         left join chain_legs l on l.intent_id = i.intent_id \
         left join decisions d on d.tx_ref = i.tx_ref \
         left join payments p on p.tx_ref = i.tx_ref and p.is_first \
         left join ", DEBTS, " o on o.receipt = p.receipt \
         left join ", HOLDS, " h on h.tx_ref = i.tx_ref \
         where i.intent_id > $1 order by i.intent_id limit $2"
    );
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

fn read(row: &Row) -> Result<ReconcileRow, StorageError> {
    let tx_ref: String = row.try_get("tx_ref")?;
    let reader = RowReader::new(row, "mint_intents", &tx_ref);
    let address = |column| {
        let bytes = reader.bytes::<20>(column)?;
        domain::address::Address::from_bytes(bytes).map_err(|error| reader.corrupt(column, &error))
    };
    let leg: &str = reader.get("leg")?;
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
        leg: ChainLeg::from_stored(leg, reader.get("final")?).ok_or_else(|| reader.corrupt("leg", &leg))?,
        block_number: reader.get("block_number")?,
        payment: reader.parse("payment")?,
        receipt: reader.get("receipt")?,
        paid_shillings: reader.parse_opt("paid_shillings")?,
        debt: read_debt(&reader)?,
        holds: read_holds(&reader)?,
    })
}
