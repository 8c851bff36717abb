//! `exceptions`: cases for a person. This service opens them; a person resolves them.

use domain::ids::IntentId;
use domain::money::Shillings;
use domain::payment::MpesaReceipt;
use domain::tx_ref::TxRef;
use strum::{IntoStaticStr, VariantArray};

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

/// What went wrong: the value of the column, of the metric label and in the alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, VariantArray, IntoStaticStr)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum ExceptionKind {
    /// Paid, but another amount than the intent commits to.
    AmountMismatch,
    /// A further paid report with another receipt: other money.
    DuplicatePayment,
    /// The payer's shillings must go back.
    OwedToPayer,
    /// The same receipt with other content, or under another txRef.
    CallbackConflict,
    /// A payment without an intent, too old to be matched.
    OrphanPayment,
    /// Authentic, but stale when it came.
    LateReport,
    /// A stored report whose MAC does not verify any more, or that says something else than was recorded.
    ReportTampered,
    /// An intent row that does not hash to its id.
    IntentTampered,
    /// Signed with a key that was compromised.
    CompromisedKey,
    /// The chain minted an intent without a confirmed payment.
    MintWithoutPayment,
    /// The executor parked a command of the intent: a dead letter waits for a person.
    CommandParked,
    /// About to mint for a payment that was owed back to its payer.
    AlreadyOwed,
    /// Minted for a payment that was owed back to its payer: it may have been paid out twice.
    MintedAfterOwed,
    /// A reorganisation undid a final mint or refund.
    FinalReverted,
}

impl ExceptionKind {
    pub const ALL: [Self; Self::VARIANTS.len()] = domain::variants();

    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// Whether it stops every command of the txRef until resolved.
    pub const fn holds(self) -> bool {
        match self {
            Self::AmountMismatch
            | Self::OrphanPayment
            | Self::ReportTampered
            | Self::IntentTampered
            | Self::CompromisedKey
            | Self::MintWithoutPayment
            | Self::CommandParked
            | Self::AlreadyOwed => true,
            // No command is left to stop; after a reorganisation the commands must go on, to restore what was undone.
            Self::DuplicatePayment
            | Self::OwedToPayer
            | Self::CallbackConflict
            | Self::LateReport
            | Self::MintedAfterOwed
            | Self::FinalReverted => false,
        }
    }

    /// Money may be lost, so the on-call person is paged.
    pub const fn pages(self) -> bool {
        matches!(
            self,
            Self::MintWithoutPayment | Self::MintedAfterOwed | Self::FinalReverted
        )
    }

    /// Whether the same exception may be opened again after a person resolved it. A lasting fault may; a fact that
    /// was settled may not.
    pub const fn can_reopen(self) -> bool {
        matches!(
            self,
            Self::ReportTampered
                | Self::IntentTampered
                | Self::CompromisedKey
                | Self::CommandParked
                | Self::FinalReverted
        )
    }
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

/// Open exceptions by kind.
pub async fn count_open(session: &impl DbSession) -> Result<Vec<(String, u64)>, StorageError> {
    let rows = query(session, COUNT_OPEN, &[]).await?;
    rows.iter()
        .map(|row| {
            let reader = RowReader::new(row, "exceptions", "open");
            Ok((reader.get("kind")?, reader.unsigned("open")?))
        })
        .collect()
}
