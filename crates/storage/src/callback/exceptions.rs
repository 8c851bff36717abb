//! `exceptions`: what a person must look at. This service opens them; a person resolves them.

use domain::ids::IntentId;
use domain::money::Shillings;
use domain::payment::Receipt;
use domain::tx_ref::TxRef;

use crate::error::StorageError;
use crate::pool::Transaction;
use crate::row::Reader;
use crate::session::{Session, execute, query, query_one};

statements! {
    // The same trouble is opened once; `$8` says whether it may come again after a person resolved it.
    OPEN =
        "insert into exceptions (kind, tx_ref, intent_id, receipt, amount_shillings, detail, is_hold) \
         select $1::text, $2::text, $3::bytea, $4::text, $5::text::numeric, $6::text, $7::boolean \
         where $8::boolean or not exists (select from exceptions \
         where kind = $1 and tx_ref = $2 and coalesce(receipt, '') = coalesce($4, '')) \
         on conflict (kind, tx_ref, coalesce(receipt, '')) where resolved_at is null do nothing";
    RESOLVE_LATE =
        "update exceptions set resolved_at = now(), resolved_by = $3, resolution = 'accepted' \
         where kind = 'late_report' and tx_ref = $1 and coalesce(receipt, '') = coalesce($2, '') \
         and resolved_at is null";
    WAS_OWED =
        "select exists (select from exceptions \
         where kind = 'owed_to_payer' and tx_ref = $1 and receipt = $2) as found";
    // A person who resolved `owed_before` has said that it may be minted.
    OWED_UNASKED =
        "select exists (select from exceptions \
         where kind = 'owed_to_payer' and tx_ref = $1 and receipt = $2) and not exists (select from exceptions \
         where kind = 'owed_before' and tx_ref = $1 and receipt = $2 and resolved_at is not null) as found";
    MISMATCH_RESOLVED =
        "select coalesce(bool_and(resolved_at is not null), false) as resolved from exceptions \
         where kind = 'amount_mismatch' and tx_ref = $1";
    COUNT_OPEN = "select kind, count(*) as open from exceptions where resolved_at is null group by kind";
}

/// What went wrong, as a bounded word: the column, the metric label and the alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Paid, but another amount than the intent commits to.
    AmountMismatch,
    /// A further paid report with another receipt: other money.
    DuplicatePayment,
    /// The payer's shillings must go back.
    OwedToPayer,
    /// The same receipt with other content, or under another txRef.
    CallbackConflict,
    /// A payment nobody asked for, too old to be matched.
    OrphanPayment,
    /// Authentic, but stale when it came.
    LateReport,
    /// A stored report whose MAC does not verify any more, or that says something else than was recorded.
    ReportTampered,
    /// An intent row that does not hash to its id.
    IntentTampered,
    /// Signed with a key that is not ours alone any more.
    CompromisedKey,
    /// The chain minted what no payment confirms.
    MintWithoutPayment,
    /// The executor parked a command of it: a dead letter waits for a person.
    CommandParked,
    /// About to mint for a payment that was owed back to its payer.
    OwedBefore,
    /// Minted for a payment that was owed back to its payer: perhaps paid out twice.
    MintedAfterOwed,
    /// A fork took back what was final.
    FinalTakenBack,
}

impl Kind {
    pub const ALL: [Self; 14] = [
        Self::AmountMismatch,
        Self::DuplicatePayment,
        Self::OwedToPayer,
        Self::CallbackConflict,
        Self::OrphanPayment,
        Self::LateReport,
        Self::ReportTampered,
        Self::IntentTampered,
        Self::CompromisedKey,
        Self::MintWithoutPayment,
        Self::CommandParked,
        Self::OwedBefore,
        Self::MintedAfterOwed,
        Self::FinalTakenBack,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::AmountMismatch => "amount_mismatch",
            Self::DuplicatePayment => "duplicate_payment",
            Self::OwedToPayer => "owed_to_payer",
            Self::CallbackConflict => "callback_conflict",
            Self::OrphanPayment => "orphan_payment",
            Self::LateReport => "late_report",
            Self::ReportTampered => "report_tampered",
            Self::IntentTampered => "intent_tampered",
            Self::CompromisedKey => "compromised_key",
            Self::MintWithoutPayment => "mint_without_payment",
            Self::CommandParked => "command_parked",
            Self::OwedBefore => "owed_before",
            Self::MintedAfterOwed => "minted_after_owed",
            Self::FinalTakenBack => "final_taken_back",
        }
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
            | Self::OwedBefore => true,
            // Nothing is left to be commanded, and what a fork took back is to be brought back.
            Self::DuplicatePayment
            | Self::OwedToPayer
            | Self::CallbackConflict
            | Self::LateReport
            | Self::MintedAfterOwed
            | Self::FinalTakenBack => false,
        }
    }

    /// Money may be lost: a person is woken.
    pub const fn pages(self) -> bool {
        matches!(
            self,
            Self::MintWithoutPayment | Self::MintedAfterOwed | Self::FinalTakenBack
        )
    }

    /// Whether the same trouble may be opened again after a person resolved it: a lasting fault may, a fact that
    /// was dealt with may not.
    pub const fn comes_again(self) -> bool {
        matches!(
            self,
            Self::ReportTampered
                | Self::IntentTampered
                | Self::CompromisedKey
                | Self::CommandParked
                | Self::FinalTakenBack
        )
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewException {
    pub kind: Kind,
    pub tx_ref: String,
    pub intent_id: Option<IntentId>,
    pub receipt: Option<String>,
    pub amount: Option<Shillings>,
    /// For the person; no phone numbers.
    pub detail: String,
}

/// True when it is new.
pub async fn open(tx: &Transaction<'_>, exception: &NewException) -> Result<bool, StorageError> {
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
            &exception.kind.comes_again(),
        ],
    )
    .await?;
    Ok(opened == 1)
}

/// Whether this money was ever owed back to its payer, paid back by now or not.
pub async fn was_owed(tx: &Transaction<'_>, tx_ref: &TxRef, receipt: &Receipt) -> Result<bool, StorageError> {
    let row = query_one(tx, WAS_OWED, &[&tx_ref.as_str(), &receipt.as_str()]).await?;
    Ok(row.try_get("found")?)
}

/// Whether this money was ever owed back to its payer and nobody said that it may be minted all the same.
pub async fn owed_unasked(
    tx: &Transaction<'_>,
    tx_ref: &TxRef,
    receipt: &Receipt,
) -> Result<bool, StorageError> {
    let row = query_one(tx, OWED_UNASKED, &[&tx_ref.as_str(), &receipt.as_str()]).await?;
    Ok(row.try_get("found")?)
}

/// Whether a person ended the hold that a payment of another amount began.
pub async fn mismatch_resolved(tx: &Transaction<'_>, tx_ref: &TxRef) -> Result<bool, StorageError> {
    let row = query_one(tx, MISMATCH_RESOLVED, &[&tx_ref.as_str()]).await?;
    Ok(row.try_get("resolved")?)
}

/// An operator accepted the late report: that was what the exception asked for.
pub async fn resolve_late(
    tx: &Transaction<'_>,
    tx_ref: &str,
    receipt: Option<&str>,
    by: &str,
) -> Result<(), StorageError> {
    execute(tx, RESOLVE_LATE, &[&tx_ref, &receipt, &by]).await?;
    Ok(())
}

/// Open exceptions by kind.
pub async fn count_open(session: &impl Session) -> Result<Vec<(String, u64)>, StorageError> {
    let rows = query(session, COUNT_OPEN, &[]).await?;
    rows.iter()
        .map(|row| {
            let reader = Reader::new(row, "exceptions", "open");
            Ok((reader.get("kind")?, reader.unsigned("open")?))
        })
        .collect()
}
