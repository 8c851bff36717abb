//! The money equation over all payments: `domain::fate::fate`, summed where the rows are. A test proves the two equal on
//! every combination of facts.

use const_format::concatcp;
use domain::fate::{Debt, FateTotals, Holds};

use crate::error::StorageError;
use crate::row::RowReader;
use crate::session::{DbSession, query};

/// The payment `p` with its decision `d`, what is owed for it (`o`), and the holds of its txRef (`h`).
const RECEIPTS: &str = concatcp!(
    "payments p left join decisions d on d.tx_ref = p.tx_ref left join ",
    DEBTS,
    " o on o.receipt = p.receipt left join ",
    HOLDS,
    " h on h.tx_ref = p.tx_ref"
);

/// By receipt: whether it is owed, was, or was not after all.
pub(crate) const DEBTS: &str = "(select receipt, \
     bool_or(kind = 'owed_to_payer' and resolved_at is null) as debt_open, \
     bool_or(kind = 'owed_to_payer' and resolved_at is not null) as debt_resolved, \
     bool_or(kind = 'already_owed' and resolved_at is not null) as debt_void \
     from exceptions where kind in ('owed_to_payer', 'already_owed') group by receipt)";

/// By txRef: whether a hold is open, and which of those that no leg follows a person has resolved.
pub(crate) const HOLDS: &str = "(select tx_ref, \
     bool_or(resolved_at is null) as hold_open, \
     bool_or(kind = 'orphan_payment' and resolved_at is not null) as orphan_resolved, \
     bool_or(kind = 'amount_mismatch' and resolved_at is not null) as mismatch_resolved, \
     bool_or(kind = 'mint_without_payment' and resolved_at is not null) as unpaid_mint_resolved \
     from exceptions where is_hold group by tx_ref)";

/// The columns that [`read_debt`] and [`read_holds`] read.
pub(crate) const FACTS: &str = "o.debt_open, o.debt_resolved, o.debt_void, \
     h.hold_open, h.orphan_resolved, h.mismatch_resolved, h.unpaid_mint_resolved";

/// `domain::fate::fate` of the row.
const FATE: &str = "case \
     when p.is_first and d.chain_leg = 'executed' and d.chain_final and d.payment_leg = 'confirmed' then 'minted' \
     when o.debt_open then 'owed' \
     when o.debt_resolved and not o.debt_void then 'settled' \
     when not p.is_first then 'unreconciled' \
     when h.hold_open then 'held' \
     when d.payment_leg in ('confirmed', 'mismatched') then case \
     when d.chain_leg = 'executed' and d.payment_leg = 'confirmed' then 'in_flight' \
     when d.chain_leg = 'executed' and h.unpaid_mint_resolved then 'settled' \
     when d.chain_leg in ('executed', 'rejected', 'dropped') or (d.chain_leg = 'refunded' and d.chain_final) \
     then 'unreconciled' \
     when d.payment_leg = 'confirmed' or h.mismatch_resolved then 'in_flight' \
     else 'unreconciled' end \
     when h.orphan_resolved or (d.chain_leg = 'executed' and h.unpaid_mint_resolved) then 'settled' \
     when d.intent_id is null then 'orphaned' \
     when d.chain_leg in ('queued', 'submitting', 'escrowed') and d.payment_leg <> 'expired' then 'in_flight' \
     else 'unreconciled' end";

/// Each paid receipt with its amount and its fate.
pub const RECEIPT_FATES: &str = concatcp!(
    "select p.receipt, p.amount_shillings, ",
    FATE,
    " as fate from ",
    RECEIPTS
);

statements! {
    TOTALS = concatcp!(
        "select fate, sum(amount_shillings)::text as shillings from (", RECEIPT_FATES, ") r group by fate"
    );
    // Further receipts of a txRef, and those that no intent asked for.
    TOTALS_BESIDE_INTENTS = concatcp!(
        "select fate, sum(amount_shillings)::text as shillings from (", RECEIPT_FATES,
        " where not p.is_first or not exists (select from mint_intents i where i.tx_ref = p.tx_ref)) r group by fate"
    );
}

/// All paid shillings by their fate.
pub async fn totals(session: &impl DbSession) -> Result<FateTotals, StorageError> {
    sums(session, TOTALS).await
}

/// Those of receipts that are no intent's payment.
pub async fn totals_beside_intents(session: &impl DbSession) -> Result<FateTotals, StorageError> {
    sums(session, TOTALS_BESIDE_INTENTS).await
}

async fn sums(session: &impl DbSession, statement: &'static str) -> Result<FateTotals, StorageError> {
    let mut totals = FateTotals::default();
    for row in &query(session, statement, &[]).await? {
        let reader = RowReader::new(row, "payments", "sums");
        totals.add(reader.parse("fate")?, reader.sum("shillings")?);
    }
    Ok(totals)
}

pub(crate) fn read_debt(reader: &RowReader<'_>) -> Result<Debt, StorageError> {
    Ok(if flag(reader, "debt_open")? {
        Debt::Open
    } else if !flag(reader, "debt_resolved")? {
        Debt::None
    } else if flag(reader, "debt_void")? {
        Debt::Void
    } else {
        Debt::Resolved
    })
}

pub(crate) fn read_holds(reader: &RowReader<'_>) -> Result<Holds, StorageError> {
    Ok(Holds {
        open: flag(reader, "hold_open")?,
        orphan_resolved: flag(reader, "orphan_resolved")?,
        mismatch_resolved: flag(reader, "mismatch_resolved")?,
        unpaid_mint_resolved: flag(reader, "unpaid_mint_resolved")?,
    })
}

/// Null where there is no such exception.
fn flag(reader: &RowReader<'_>, column: &'static str) -> Result<bool, StorageError> {
    Ok(reader.get::<Option<bool>>(column)?.unwrap_or(false))
}
