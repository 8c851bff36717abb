//! Cases for a person: what each kind stops, and who must hear of it (docs/EXCEPTIONS.md).

use strum::{EnumString, IntoStaticStr, VariantArray};

/// What went wrong: the value of the column, of the metric label and in the alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, VariantArray, IntoStaticStr, EnumString)]
#[strum(const_into_str, serialize_all = "snake_case", parse_err_ty = UnknownExceptionKind, parse_err_fn = UnknownExceptionKind::new)]
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

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a kind of exception")]
pub struct UnknownExceptionKind;

impl UnknownExceptionKind {
    const fn new(_: &str) -> Self {
        Self
    }
}

impl ExceptionKind {
    pub const ALL: [Self; Self::VARIANTS.len()] = crate::variants();

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_its_consequences() {
        use ExceptionKind as E;
        // Columns: stored name, holds the txRef, pages, may be opened again.
        let table = [
            (E::AmountMismatch, "amount_mismatch", true, false, false),
            (E::DuplicatePayment, "duplicate_payment", false, false, false),
            (E::OwedToPayer, "owed_to_payer", false, false, false),
            (E::CallbackConflict, "callback_conflict", false, false, false),
            (E::OrphanPayment, "orphan_payment", true, false, false),
            (E::LateReport, "late_report", false, false, false),
            (E::ReportTampered, "report_tampered", true, false, true),
            (E::IntentTampered, "intent_tampered", true, false, true),
            (E::CompromisedKey, "compromised_key", true, false, true),
            (E::MintWithoutPayment, "mint_without_payment", true, true, false),
            (E::CommandParked, "command_parked", true, false, true),
            (E::AlreadyOwed, "already_owed", true, false, false),
            (E::MintedAfterOwed, "minted_after_owed", false, true, false),
            (E::FinalReverted, "final_reverted", false, true, true),
        ];
        assert_eq!(table.map(|(kind, ..)| kind), E::ALL);
        for (kind, name, holds, pages, can_reopen) in table {
            assert_eq!((kind.name(), name.parse()), (name, Ok(kind)));
            let found = (kind.holds(), kind.pages(), kind.can_reopen());
            assert_eq!(found, (holds, pages, can_reopen), "{name}");
        }
        assert_eq!("".parse::<E>(), Err(UnknownExceptionKind));
    }
}
