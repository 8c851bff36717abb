//! What became of a stored report (docs/STATES.md).

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// The outcome that is stored with a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, VariantArray, IntoStaticStr, Display, EnumString)]
#[strum(const_into_str, serialize_all = "snake_case", parse_err_ty = UnknownReportOutcome, parse_err_fn = UnknownReportOutcome::new)]
pub enum ReportOutcome {
    /// The payment of its txRef, of the intent's amount.
    Confirmed,
    /// The payment of its txRef, of another amount.
    Mismatched,
    Declined,
    /// Declined, but a payment or an end of the payment leg was known already.
    DeclinedTooLate,
    /// The payment of its txRef, and no intent to match it with, or none that can be trusted.
    Orphan,
    /// The same content was reported before.
    Duplicate,
    /// A further payment of a paid txRef.
    AnotherPayment,
    /// Paid after the payment was given up: the payer is owed.
    PaidTooLate,
    /// A known receipt with other content: kept as evidence, without effect.
    Conflict,
    /// Authentic, but stale when it came: it waits for a person.
    Late,
    /// Signed with a key that was compromised.
    CompromisedKey,
    /// Its MAC does not verify.
    Tampered,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an outcome of a report")]
pub struct UnknownReportOutcome;

impl UnknownReportOutcome {
    const fn new(_: &str) -> Self {
        Self
    }
}

impl ReportOutcome {
    pub const ALL: [Self; Self::VARIANTS.len()] = crate::variants();

    /// In SQL, metrics and answers.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// The report was processed, so that the same report can change nothing when it comes again. The others wait for an
    /// operator or a key.
    pub const fn is_conclusive(self) -> bool {
        !matches!(self, Self::Late | Self::CompromisedKey | Self::Tampered)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_waits_for_an_operator_or_a_key_is_not_conclusive() {
        use ReportOutcome as R;
        let table = [
            (R::Confirmed, "confirmed", true),
            (R::Mismatched, "mismatched", true),
            (R::Declined, "declined", true),
            (R::DeclinedTooLate, "declined_too_late", true),
            (R::Orphan, "orphan", true),
            (R::Duplicate, "duplicate", true),
            (R::AnotherPayment, "another_payment", true),
            (R::PaidTooLate, "paid_too_late", true),
            (R::Conflict, "conflict", true),
            (R::Late, "late", false),
            (R::CompromisedKey, "compromised_key", false),
            (R::Tampered, "tampered", false),
        ];
        assert_eq!(table.map(|(outcome, ..)| outcome), R::ALL);
        for (outcome, name, conclusive) in table {
            assert_eq!((outcome.name(), name.parse()), (name, Ok(outcome)));
            assert_eq!(outcome.is_conclusive(), conclusive, "{name}");
        }
        assert_eq!("repeated".parse::<R>(), Err(UnknownReportOutcome));
    }
}
