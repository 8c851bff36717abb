//! `payments`: every paid receipt once, across all txRefs.

use domain::ids::ReportId;
use domain::money::Shillings;
use domain::payment::MpesaReceipt;
use domain::tx_ref::TxRef;
use time::OffsetDateTime;
use tokio_postgres::Row;

use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{execute, query_opt};

statements! {
    INSERT =
        "insert into payments (receipt, tx_ref, report_id, amount_shillings, phone, is_first, received_at) \
         values ($1, $2, $3, $4::text::numeric, $5, $6, $7) on conflict (receipt) do nothing";
    BY_RECEIPT =
        "select receipt, tx_ref, report_id, amount_shillings::text as amount, is_first, received_at, \
         0::float8 as age_seconds from payments where receipt = $1";
    FIRST =
        "select receipt, tx_ref, report_id, amount_shillings::text as amount, is_first, received_at, \
         extract(epoch from clock_timestamp() - received_at)::float8 as age_seconds \
         from payments where tx_ref = $1 and is_first";
}

#[derive(Clone, Debug, PartialEq)]
pub struct PaymentRow {
    pub receipt: MpesaReceipt,
    pub tx_ref: TxRef,
    pub report_id: ReportId,
    pub amount: Shillings,
    pub is_first: bool,
    pub received_at: OffsetDateTime,
    /// By the database's clock.
    pub age_seconds: f64,
}

/// A payment to be recorded.
#[derive(Clone, Debug)]
pub struct NewPayment<'a> {
    pub receipt: &'a MpesaReceipt,
    pub tx_ref: &'a TxRef,
    pub report_id: ReportId,
    pub amount: Shillings,
    pub phone: String,
    pub is_first: bool,
    pub received_at: OffsetDateTime,
}

/// False when the receipt is stored already; waits for a transaction that is storing it now.
pub async fn insert(tx: &DbTransaction<'_>, payment: &NewPayment<'_>) -> Result<bool, StorageError> {
    let inserted = execute(
        tx,
        INSERT,
        &[
            &payment.receipt.as_str(),
            &payment.tx_ref.as_str(),
            &payment.report_id.0,
            &payment.amount.to_string(),
            &payment.phone,
            &payment.is_first,
            &payment.received_at,
        ],
    )
    .await?;
    Ok(inserted == 1)
}

pub async fn by_receipt(
    tx: &DbTransaction<'_>,
    receipt: &MpesaReceipt,
) -> Result<Option<PaymentRow>, StorageError> {
    query_opt(tx, BY_RECEIPT, &[&receipt.as_str()])
        .await?
        .map(|row| read(&row))
        .transpose()
}

/// The payment of a txRef: the first paid report.
pub async fn first(tx: &DbTransaction<'_>, tx_ref: &TxRef) -> Result<Option<PaymentRow>, StorageError> {
    query_opt(tx, FIRST, &[&tx_ref.as_str()])
        .await?
        .map(|row| read(&row))
        .transpose()
}

fn read(row: &Row) -> Result<PaymentRow, StorageError> {
    let reader = RowReader::new(row, "payments", row.try_get::<_, &str>("receipt")?);
    Ok(PaymentRow {
        receipt: reader.parse("receipt")?,
        tx_ref: reader.parse("tx_ref")?,
        report_id: ReportId(reader.get("report_id")?),
        amount: reader.parse("amount")?,
        is_first: reader.get("is_first")?,
        received_at: reader.get("received_at")?,
        age_seconds: reader.get("age_seconds")?,
    })
}
