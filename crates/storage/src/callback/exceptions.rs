//! `exceptions`: cases for a person. This service opens them; a person resolves them.

use domain::exception::ExceptionKind;
use domain::ids::IntentId;
use domain::money::Shillings;
use domain::payment::MpesaReceipt;
use domain::tx_ref::TxRef;

use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query, query_one};

statements! {
    // The same exception is opened once; `$8` says whether it may be opened again after a person resolved it.
    OPEN =
        "insert into exceptions (kind, tx_ref, intent_id, receipt, amount_shillings, detail, is_hold) \
         select $1::text, $2::text, $3::bytea, $4::text, $5::text::numeric, $6::text, $7::boolean \
         where $8::boolean or not exists (select from exceptions \
         where kind = $1 and tx_ref = $2 and coalesce(receipt, '') = coalesce($4, '')) \
         on conflict (kind, tx_ref, coalesce(receipt, '')) where resolved_at is null do nothing";
    RESOLVE_LATE_REPORT =
        "update exceptions set resolved_at = now(), resolved_by = $3, resolution = 'accepted' \
         where kind = 'late_report' and tx_ref = $1 and coalesce(receipt, '') = coalesce($2, '') \
         and resolved_at is null";
    WAS_OWED =
        "select exists (select from exceptions \
         where kind = 'owed_to_payer' and tx_ref = $1 and receipt = $2) as found";
    // A person who resolved `already_owed` has said that it may be minted.
    OWED_WITHOUT_APPROVAL =
        "select exists (select from exceptions \
         where kind = 'owed_to_payer' and tx_ref = $1 and receipt = $2) and not exists (select from exceptions \
         where kind = 'already_owed' and tx_ref = $1 and receipt = $2 and resolved_at is not null) as found";
    MISMATCH_RESOLVED =
        "select coalesce(bool_and(resolved_at is not null), false) as resolved from exceptions \
         where kind = 'amount_mismatch' and tx_ref = $1";
    COUNT_OPEN = "select kind, count(*) as open from exceptions where resolved_at is null group by kind";
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewException {
    pub kind: ExceptionKind,
    pub tx_ref: String,
    pub intent_id: Option<IntentId>,
    pub receipt: Option<String>,
    pub amount: Option<Shillings>,
    /// Text for the person; no phone numbers.
    pub detail: String,
}

/// True when it is new.
pub async fn open(tx: &DbTransaction<'_>, exception: &NewException) -> Result<bool, StorageError> {
    let intent_id = exception.intent_id.as_ref().map(|id| id.as_bytes().as_slice());
    let amount = exception.amount.map(|amount| amount.to_string());
    let opened = execute(
        tx,
        OPEN,
        &[
            &exception.kind.name(),
            &exception.tx_ref,
            &intent_id,
            &exception.receipt,
            &amount,
            &exception.detail,
            &exception.kind.holds(),
            &exception.kind.can_reopen(),
        ],
    )
    .await?;
    Ok(opened == 1)
}

/// Whether this money was ever owed back to its payer, paid back by now or not.
pub async fn was_owed(
    tx: &DbTransaction<'_>,
    tx_ref: &TxRef,
    receipt: &MpesaReceipt,
) -> Result<bool, StorageError> {
    let row = query_one(tx, WAS_OWED, &[&tx_ref.as_str(), &receipt.as_str()]).await?;
    Ok(row.try_get("found")?)
}

/// Whether this money was ever owed back to its payer and no person has approved the mint since.
pub async fn owed_without_approval(
    tx: &DbTransaction<'_>,
    tx_ref: &TxRef,
    receipt: &MpesaReceipt,
) -> Result<bool, StorageError> {
    let row = query_one(tx, OWED_WITHOUT_APPROVAL, &[&tx_ref.as_str(), &receipt.as_str()]).await?;
    Ok(row.try_get("found")?)
}

/// Whether a person has ended the hold for a payment of another amount.
pub async fn mismatch_resolved(tx: &DbTransaction<'_>, tx_ref: &TxRef) -> Result<bool, StorageError> {
    let row = query_one(tx, MISMATCH_RESOLVED, &[&tx_ref.as_str()]).await?;
    Ok(row.try_get("resolved")?)
}

/// Resolves the exception of a late report that an operator accepted.
pub async fn resolve_late_report(
    tx: &DbTransaction<'_>,
    tx_ref: &str,
    receipt: Option<&str>,
    by: &str,
) -> Result<(), StorageError> {
    execute(tx, RESOLVE_LATE_REPORT, &[&tx_ref, &receipt, &by]).await?;
    Ok(())
}

/// Open exceptions by kind; a kind that this code does not know is left out.
pub async fn count_open(session: &impl DbSession) -> Result<Vec<(ExceptionKind, u64)>, StorageError> {
    let mut counts = Vec::new();
    for row in &query(session, COUNT_OPEN, &[]).await? {
        let reader = RowReader::new(row, "exceptions", "open");
        if let Ok(kind) = reader.get::<&str>("kind")?.parse() {
            counts.push((kind, reader.unsigned("open")?));
        }
    }
    Ok(counts)
}
