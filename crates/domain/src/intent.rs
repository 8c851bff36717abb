//! The states of an intent: two legs that advance independently, and the public status (docs/STATES.md).

use serde::{Deserialize, Serialize};
use strum::{Display, EnumString, IntoStaticStr, VariantArray};

/// The state of an intent's deposit on chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, IntoStaticStr, Display)]
#[serde(rename_all = "snake_case")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum ChainLeg {
    /// Accepted; no deposit transaction has been signed.
    Queued,
    /// A deposit transaction is signed, so it may have been sent.
    Submitting,
    /// The deposit is mined and locked.
    Escrowed,
    /// A mint transaction is signed.
    Executing,
    /// Minted: mined, and perhaps final.
    Executed(Finality),
    /// A refund transaction is signed.
    Refunding,
    /// The deposit went back: mined, and perhaps final.
    Refunded(Finality),
    /// The deposit can never succeed.
    Rejected,
    /// Never sent, and never will be.
    Dropped,
}

/// Mined, or so deep in the chain that the policy calls it final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finality {
    Mined,
    Final,
}

/// What moves a leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A command asks for it: only the commanded arrows of docs/STATES.md are legal.
    Commanded,
    /// Storage on chain says so: observations outrank commands, also backwards after a reorganisation.
    Observed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a chain leg cannot go from {from} to {to}")]
pub struct IllegalTransition {
    pub from: ChainLeg,
    pub to: ChainLeg,
}

impl ChainLeg {
    pub const ALL: [Self; 11] = [
        Self::Queued,
        Self::Submitting,
        Self::Escrowed,
        Self::Executing,
        Self::Executed(Finality::Mined),
        Self::Executed(Finality::Final),
        Self::Refunding,
        Self::Refunded(Finality::Mined),
        Self::Refunded(Finality::Final),
        Self::Rejected,
        Self::Dropped,
    ];

    /// The leg's name in SQL, messages and answers, without finality.
    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// The name in the history: `executed` when mined, `executed_final` when final.
    pub const fn history_name(self) -> &'static str {
        match self {
            Self::Executed(Finality::Final) => "executed_final",
            Self::Refunded(Finality::Final) => "refunded_final",
            other => other.name(),
        }
    }

    /// No command of ours changes the leg any more.
    pub const fn is_terminal(self) -> bool {
        matches!(
            self,
            Self::Executed(Finality::Final)
                | Self::Refunded(Finality::Final)
                | Self::Rejected
                | Self::Dropped
        )
    }

    pub const fn is_final(self) -> bool {
        matches!(
            self,
            Self::Executed(Finality::Final) | Self::Refunded(Finality::Final)
        )
    }

    /// Parses a stored leg; `None` for a name that we never write.
    pub fn from_stored(name: &str, is_final: bool) -> Option<Self> {
        let finality = if is_final {
            Finality::Final
        } else {
            Finality::Mined
        };
        let leg = match name {
            "queued" => Self::Queued,
            "submitting" => Self::Submitting,
            "escrowed" => Self::Escrowed,
            "executing" => Self::Executing,
            "executed" => Self::Executed(finality),
            "refunding" => Self::Refunding,
            "refunded" => Self::Refunded(finality),
            "rejected" => Self::Rejected,
            "dropped" => Self::Dropped,
            _ => return None,
        };
        Some(leg)
    }

    /// Parses a leg's name in the history, where the final state has its own name.
    pub fn from_history(name: &str) -> Option<Self> {
        match name.strip_suffix("_final") {
            Some(paid_out) => Self::from_stored(paid_out, true).filter(|leg| leg.is_final()),
            None => Self::from_stored(name, false),
        }
    }

    /// The only function that changes a leg.
    pub fn advance(self, to: Self, cause: Cause) -> Result<Self, IllegalTransition> {
        let legal = match cause {
            Cause::Commanded => self.command_allows(to),
            Cause::Observed => to.is_chain_state(),
        };
        if legal {
            Ok(to)
        } else {
            Err(IllegalTransition { from: self, to })
        }
    }

    fn command_allows(self, to: Self) -> bool {
        matches!(
            (self, to),
            (Self::Queued, Self::Submitting | Self::Dropped | Self::Rejected)
                | (Self::Submitting, Self::Rejected)
                | (Self::Escrowed, Self::Executing | Self::Refunding)
                | (Self::Executing, Self::Refunding)
        )
    }

    /// States that the contract's storage shows, plus `Submitting`, to which a reorganised deposit returns.
    fn is_chain_state(self) -> bool {
        matches!(
            self,
            Self::Submitting | Self::Escrowed | Self::Executed(_) | Self::Refunded(_) | Self::Rejected
        )
    }
}

/// The state of an intent's payment, from M-Pesa's reports.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    Serialize,
    Deserialize,
    VariantArray,
    IntoStaticStr,
    Display,
    EnumString,
)]
#[serde(rename_all = "snake_case")]
#[strum(const_into_str, serialize_all = "snake_case", parse_err_ty = UnknownPaymentLeg, parse_err_fn = UnknownPaymentLeg::new)]
pub enum PaymentLeg {
    Awaiting,
    Confirmed,
    Declined,
    /// Paid, but another amount than the intent commits to.
    Mismatched,
    /// The payment window closed without any report.
    Expired,
}

impl PaymentLeg {
    pub const ALL: [Self; Self::VARIANTS.len()] = crate::variants();

    pub const fn name(self) -> &'static str {
        self.into_str()
    }

    /// Whether the transition is legal; `declined -> confirmed` also requires that no refund was commanded.
    pub fn may_become(self, to: Self, refund_commanded: bool) -> bool {
        match (self, to) {
            (Self::Awaiting, to) => to != Self::Awaiting,
            (Self::Declined, Self::Confirmed | Self::Mismatched) => !refund_commanded,
            _ => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a state we ever wrote")]
pub struct UnknownPaymentLeg;

impl UnknownPaymentLeg {
    const fn new(_: &str) -> Self {
        Self
    }
}

/// The public status, in the order in which it may advance; it never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, IntoStaticStr)]
#[serde(rename_all = "snake_case")]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum PublicStatus {
    Pending,
    Failed,
    Refunded,
    Executed,
}

impl PublicStatus {
    /// `executed` or `refunded` when that leg is final, `failed` when rejected or dropped, else `pending`.
    pub const fn of(leg: ChainLeg) -> Self {
        match leg {
            ChainLeg::Executed(Finality::Final) => Self::Executed,
            ChainLeg::Refunded(Finality::Final) => Self::Refunded,
            ChainLeg::Rejected | ChainLeg::Dropped => Self::Failed,
            _ => Self::Pending,
        }
    }

    /// The furthest status of the present leg and of every earlier one. A reorganisation past finality takes back the leg,
    /// and with it `final` and `stage`, but not the public status.
    pub fn furthest(now: ChainLeg, ever: impl IntoIterator<Item = ChainLeg>) -> Self {
        ever.into_iter().map(Self::of).fold(Self::of(now), Self::max)
    }

    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_follow_the_arrows_only() {
        let legal: Vec<_> = ChainLeg::ALL
            .into_iter()
            .flat_map(|from| ChainLeg::ALL.map(|to| (from, to)))
            .filter(|(from, to)| from.advance(*to, Cause::Commanded).is_ok())
            .map(|(from, to)| format!("{from}->{to}"))
            .collect();
        assert_eq!(
            legal,
            [
                "queued->submitting",
                "queued->rejected",
                "queued->dropped",
                "submitting->rejected",
                "escrowed->executing",
                "escrowed->refunding",
                "executing->refunding",
            ]
        );
    }

    #[test]
    fn no_wish_leaves_a_paid_out_or_terminal_leg() {
        let terminal: Vec<_> = ChainLeg::ALL
            .into_iter()
            .filter(|leg| leg.is_terminal())
            .collect();
        assert_eq!(
            terminal,
            [
                ChainLeg::Executed(Finality::Final),
                ChainLeg::Refunded(Finality::Final),
                ChainLeg::Rejected,
                ChainLeg::Dropped,
            ]
        );
        let mined = [ChainLeg::Executed, ChainLeg::Refunded].map(|leg| leg(Finality::Mined));
        for from in terminal.into_iter().chain(mined) {
            for to in ChainLeg::ALL {
                assert!(from.advance(to, Cause::Commanded).is_err(), "{from:?} -> {to:?}");
            }
        }
    }

    #[test]
    fn facts_may_contradict_but_never_invent_a_wish() {
        assert!(
            ChainLeg::Dropped
                .advance(ChainLeg::Escrowed, Cause::Observed)
                .is_ok()
        );
        assert!(
            ChainLeg::Escrowed
                .advance(ChainLeg::Submitting, Cause::Observed)
                .is_ok()
        );
        for commanded in [
            ChainLeg::Queued,
            ChainLeg::Executing,
            ChainLeg::Refunding,
            ChainLeg::Dropped,
        ] {
            assert!(ChainLeg::Escrowed.advance(commanded, Cause::Observed).is_err());
        }
    }

    #[test]
    fn stored_names_parse_back() {
        for leg in ChainLeg::ALL {
            assert_eq!(ChainLeg::from_stored(leg.name(), leg.is_final()), Some(leg));
        }
        for leg in PaymentLeg::ALL {
            assert_eq!(leg.name().parse(), Ok(leg));
        }
    }

    #[test]
    fn only_a_final_leg_is_publicly_settled() {
        for leg in ChainLeg::ALL {
            let expected = match leg {
                ChainLeg::Executed(Finality::Final) => "executed",
                ChainLeg::Refunded(Finality::Final) => "refunded",
                ChainLeg::Rejected | ChainLeg::Dropped => "failed",
                _ => "pending",
            };
            assert_eq!(PublicStatus::of(leg).name(), expected, "{leg:?}");
        }
    }

    #[test]
    fn a_public_status_never_moves_backwards() {
        let executed = ChainLeg::Executed(Finality::Final);
        let refunded = ChainLeg::Refunded(Finality::Final);
        for now in ChainLeg::ALL {
            assert_eq!(PublicStatus::furthest(now, []), PublicStatus::of(now));
            assert_eq!(
                PublicStatus::furthest(now, [ChainLeg::Dropped, executed]),
                PublicStatus::Executed
            );
            assert!(PublicStatus::furthest(now, [refunded]) >= PublicStatus::Refunded);
            assert_ne!(
                PublicStatus::furthest(now, [ChainLeg::Rejected]),
                PublicStatus::Pending
            );
        }
    }

    #[test]
    fn history_names_parse_back() {
        for leg in ChainLeg::ALL {
            let name = match leg {
                ChainLeg::Executed(Finality::Final) => "executed_final",
                ChainLeg::Refunded(Finality::Final) => "refunded_final",
                other => other.name(),
            };
            assert_eq!(leg.history_name(), name);
            assert_eq!(ChainLeg::from_history(name), Some(leg));
        }
        assert_eq!(ChainLeg::from_history("escrowed_final"), None);
    }

    #[test]
    fn a_declined_payment_may_still_be_paid_until_the_refund_is_commanded() {
        let legal = |refund_commanded| -> Vec<_> {
            PaymentLeg::ALL
                .into_iter()
                .flat_map(|from| PaymentLeg::ALL.map(|to| (from, to)))
                .filter(|(from, to)| from.may_become(*to, refund_commanded))
                .map(|(from, to)| format!("{from}->{to}"))
                .collect()
        };
        let first_reports = [
            "awaiting->confirmed",
            "awaiting->declined",
            "awaiting->mismatched",
            "awaiting->expired",
        ];
        let payments_after_all = ["declined->confirmed", "declined->mismatched"];
        assert_eq!(legal(true), first_reports);
        assert_eq!(legal(false), [&first_reports[..], &payments_after_all].concat());
    }
}
