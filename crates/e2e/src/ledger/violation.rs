//! The kinds of violations, and what each of them counts as.

use std::fmt;

use serde::Serialize;
use strum::VariantArray;

/// Everything the audit can find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, VariantArray)]
#[serde(rename_all = "snake_case")]
pub enum ViolationKind {
    /// An intent has more than one mint on chain.
    MintedTwice,
    /// An intent was minted and refunded, or refunded twice.
    PaidOutTwice,
    /// A second deposit of one intent.
    DepositedTwice,
    /// A mint to another user or of another amount than was asked for.
    WrongMint,
    /// A mint that no acknowledged payment of that amount asks for.
    UnpaidMint,
    /// Minted without an event of the escrow, or for an intent that no client sent.
    UnknownMint,
    /// Acknowledged, but there is no row.
    IntentLost,
    PaymentLost,
    /// Neither settled nor held, and no service is working on it.
    Abandoned,
    /// An intent that could have succeeded was refused, refunded or held.
    FalseFailure,
    /// An intent that must not succeed was minted.
    FalseSuccess,
    /// The executor's row of the chain leg contradicts the chain.
    LegDiffers,
    /// The callback service's copy differs: an outcome never arrived.
    OutcomeLost,
    /// A stored report was never processed.
    ReportLost,
    /// Something still waits in an outbox, a queue or among the work items.
    LeftOver,
    /// Paid shillings that are not accounted for.
    MoneyMissing,
    /// The escrow holds another amount than its pending deposits.
    BackingDiffers,
    /// A nonce was allocated that no block uses.
    NonceGap,
    /// A transaction of which there is no row changed the escrow: it was sent before it was stored.
    SentUnstored,
    /// A transaction was signed under a lease that another executor held already.
    StaleLease,
    /// A dead letter without a reason, or with one that this scenario does not explain.
    DeadLetter,
    /// A command was signed under several nonces though the scenario gives no reason for it.
    SecondNonce,
    /// A command used up an attempt though only a dependency was down.
    AttemptWasted,
    /// Found while the scenario ran: a service ended by itself, a valid request was refused, something never settled.
    Run,
}

impl ViolationKind {
    pub const ALL: &[Self] = Self::VARIANTS;

    pub const fn is_duplicate(self) -> bool {
        matches!(
            self,
            Self::MintedTwice | Self::PaidOutTwice | Self::DepositedTwice
        )
    }

    pub const fn is_loss(self) -> bool {
        matches!(
            self,
            Self::IntentLost
                | Self::PaymentLost
                | Self::Abandoned
                | Self::OutcomeLost
                | Self::ReportLost
                | Self::MoneyMissing
        )
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    pub kind: ViolationKind,
    /// An intent id, txRef, receipt, nonce or queue.
    pub subject: String,
    pub detail: String,
}

impl Violation {
    pub fn new(kind: ViolationKind, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            kind,
            subject: subject.into(),
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}: {}", self.kind, self.subject, self.detail)
    }
}
