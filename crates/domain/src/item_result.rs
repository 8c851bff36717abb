//! What a block, or a simulation, says about one item of a batch.

use std::str::FromStr;

use strum::{IntoStaticStr, VariantArray};

/// The escrow's result for one item of a batch, in the order of the contract's enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, VariantArray, IntoStaticStr)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum ItemOutcome {
    Done,
    NotCompliant,
    CompliancePaused,
    EscrowPaused,
    TokenPaused,
    RateLimited,
    TransferFailed,
    NotFound,
    OutOfGas,
    IdMismatch,
    AlreadyExists,
    AlreadyExecuted,
    AlreadyRefunded,
    TxRefAlreadyUsed,
    InvalidAmount,
    InvalidCountryCode,
    InvalidUser,
    DailyLimitExceeded,
    DepositorNotAllowed,
    Expired,
    /// Also any code that a later contract may add.
    Unknown,
}

impl ItemOutcome {
    pub const ALL: [Self; Self::VARIANTS.len()] = crate::variants();

    /// The outcome with that position in the contract's enum.
    pub fn from_code(code: u8) -> Self {
        Self::ALL.get(usize::from(code)).copied().unwrap_or(Self::Unknown)
    }

    /// In SQL, metrics, reasons and logs.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

/// The result of an item of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ItemResult {
    /// The escrow's log reports this outcome.
    Reported(ItemOutcome),
    /// The whole transaction reverted.
    Reverted,
    /// The whole transaction reverted, and the signer lacked its role at that block.
    Unauthorized,
    /// The transaction succeeded without a log for the item.
    NoEvent,
    /// Another transaction used the nonce in a final block, and none of ours with that nonce has a receipt.
    NonceLost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a result of an item")]
pub struct UnknownItemResult;

impl ItemResult {
    const OF_TRANSACTION: [Self; 4] = [Self::Reverted, Self::Unauthorized, Self::NoEvent, Self::NonceLost];

    pub const ALL: [Self; ItemOutcome::ALL.len() + Self::OF_TRANSACTION.len()] = {
        let outcomes = ItemOutcome::ALL.len();
        let mut all = [Self::Reverted; ItemOutcome::ALL.len() + Self::OF_TRANSACTION.len()];
        let mut i = 0;
        while i < all.len() {
            all[i] = if i < outcomes {
                Self::Reported(ItemOutcome::ALL[i])
            } else {
                Self::OF_TRANSACTION[i - outcomes]
            };
            i += 1;
        }
        all
    };

    /// The name in SQL, metrics, reasons and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reported(outcome) => outcome.name(),
            Self::Reverted => "reverted",
            Self::Unauthorized => "unauthorized",
            Self::NoEvent => "no_event",
            Self::NonceLost => "nonce_lost",
        }
    }

    /// The cause that must go away before the same item can succeed, if that needs no other item and no person.
    pub const fn breaker_cause(self) -> Option<BreakerCause> {
        match self {
            Self::Reported(ItemOutcome::CompliancePaused) => Some(BreakerCause::CompliancePaused),
            Self::Reported(ItemOutcome::EscrowPaused) => Some(BreakerCause::EscrowPaused),
            Self::Reported(ItemOutcome::TokenPaused) => Some(BreakerCause::TokenPaused),
            Self::Reported(ItemOutcome::RateLimited) => Some(BreakerCause::RateLimited),
            Self::Reported(ItemOutcome::TransferFailed) => Some(BreakerCause::TransferFailed),
            Self::Unauthorized => Some(BreakerCause::Unauthorized),
            _ => None,
        }
    }
}

impl FromStr for ItemResult {
    type Err = UnknownItemResult;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let named = Self::ALL.into_iter().find(|result| result.name() == name);
        named.ok_or(UnknownItemResult)
    }
}

/// The results that open a breaker of the command or of the signer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, VariantArray)]
pub enum BreakerCause {
    CompliancePaused,
    EscrowPaused,
    TokenPaused,
    /// The signer's hourly mint allowance is used up.
    RateLimited,
    TransferFailed,
    /// The signer lacks its role.
    Unauthorized,
}

impl BreakerCause {
    pub const ALL: [Self; Self::VARIANTS.len()] = crate::variants();

    pub const fn result(self) -> ItemResult {
        match self {
            Self::CompliancePaused => ItemResult::Reported(ItemOutcome::CompliancePaused),
            Self::EscrowPaused => ItemResult::Reported(ItemOutcome::EscrowPaused),
            Self::TokenPaused => ItemResult::Reported(ItemOutcome::TokenPaused),
            Self::RateLimited => ItemResult::Reported(ItemOutcome::RateLimited),
            Self::TransferFailed => ItemResult::Reported(ItemOutcome::TransferFailed),
            Self::Unauthorized => ItemResult::Unauthorized,
        }
    }

    pub const fn name(self) -> &'static str {
        self.result().name()
    }
}

/// Why a leg is where it is, where the leg alone does not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LegReason {
    /// The chain refused it: the mint of an escrowed deposit, or the deposit itself.
    Refused(ItemResult),
    /// Undone before any transaction was signed.
    NotSent,
    /// Its transactions had no effect, and nothing more may be deposited.
    PaymentWindowOver,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a reason of a leg")]
pub struct UnknownLegReason;

impl LegReason {
    /// The contract refused the mint: the user is not compliant.
    pub const NOT_COMPLIANT: Self = Self::Refused(ItemResult::Reported(ItemOutcome::NotCompliant));

    /// The name in SQL and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused(result) => result.name(),
            Self::NotSent => "not_sent",
            Self::PaymentWindowOver => "payment_window_over",
        }
    }
}

impl FromStr for LegReason {
    type Err = UnknownLegReason;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let ours = [Self::NotSent, Self::PaymentWindowOver];
        match ours.into_iter().find(|reason| reason.name() == name) {
            Some(reason) => Ok(reason),
            None => name.parse().map(Self::Refused).map_err(|_| UnknownLegReason),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn stored_results_and_reasons_parse_back() {
        let names: BTreeSet<_> = ItemResult::ALL.map(ItemResult::name).into_iter().collect();
        assert_eq!(
            names.len(),
            ItemResult::ALL.len(),
            "each name stands for one result"
        );
        for result in ItemResult::ALL {
            assert_eq!(result.name().parse(), Ok(result));
            assert_eq!(result.name().parse(), Ok(LegReason::Refused(result)));
        }
        for reason in [LegReason::NotSent, LegReason::PaymentWindowOver] {
            assert_eq!(reason.name().parse(), Ok(reason));
        }
        assert_eq!(LegReason::NOT_COMPLIANT.name(), "not_compliant");
        assert_eq!("".parse::<ItemResult>(), Err(UnknownItemResult));
        assert_eq!("".parse::<LegReason>(), Err(UnknownLegReason));
    }

    #[test]
    fn the_stored_names_never_change() {
        let expected = [
            "done",
            "not_compliant",
            "compliance_paused",
            "escrow_paused",
            "token_paused",
            "rate_limited",
            "transfer_failed",
            "not_found",
            "out_of_gas",
            "id_mismatch",
            "already_exists",
            "already_executed",
            "already_refunded",
            "tx_ref_already_used",
            "invalid_amount",
            "invalid_country_code",
            "invalid_user",
            "daily_limit_exceeded",
            "depositor_not_allowed",
            "expired",
            "unknown",
            "reverted",
            "unauthorized",
            "no_event",
            "nonce_lost",
        ];
        assert_eq!(ItemResult::ALL.map(ItemResult::name), expected);
        assert_eq!(LegReason::NotSent.name(), "not_sent");
        assert_eq!(LegReason::PaymentWindowOver.name(), "payment_window_over");
    }

    #[test]
    fn a_code_of_a_later_contract_is_unknown() {
        for (code, outcome) in (0_u8..).zip(ItemOutcome::ALL) {
            assert_eq!(ItemOutcome::from_code(code), outcome);
        }
        for later in [21, 200, u8::MAX] {
            assert_eq!(ItemOutcome::from_code(later), ItemOutcome::Unknown);
        }
    }

    #[test]
    fn each_cause_of_a_breaker_is_the_cause_of_its_result_and_of_no_other() {
        for result in ItemResult::ALL {
            let expected = BreakerCause::ALL
                .into_iter()
                .find(|cause| cause.result() == result);
            assert_eq!(result.breaker_cause(), expected, "{result:?}");
        }
        let names = [
            "compliance_paused",
            "escrow_paused",
            "token_paused",
            "rate_limited",
            "transfer_failed",
            "unauthorized",
        ];
        assert_eq!(BreakerCause::ALL.map(BreakerCause::name), names);
    }
}
