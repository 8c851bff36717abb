//! What may be wrong, each with what it counts as.

use std::fmt;

use serde::Serialize;

/// Everything the audit can find.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
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
    /// Minted without the escrow's word, or for an intent that nobody sent.
    StrangeMint,
    /// Acknowledged, and there is no row.
    IntentLost,
    PaymentLost,
    /// Neither settled nor held, and nobody is working on it.
    Abandoned,
    /// What could have succeeded was refused, refunded or held.
    FalseFailure,
    /// What could not succeed was minted.
    FalseSuccess,
    /// A row of the chain's side says something else than the chain.
    LegDiffers,
    /// The decider's copy differs: an outcome never arrived.
    OutcomeLost,
    /// A stored report was never judged.
    ReportLost,
    /// Something still waits in an outbox, a queue or the rows.
    LeftOver,
    /// Paid shillings that are nowhere.
    MoneyMissing,
    /// The escrow holds other than the deposits that wait in it.
    BackingDiffers,
    /// A nonce of ours that no block uses.
    NonceGap,
    /// The escrow was moved by a transaction that no row holds: sent before it was stored.
    Unstored,
    /// A transaction signed under a lease that was another's already.
    StaleLease,
    /// A dead letter that does not say why it is there, or for a reason that this story does not give.
    DeadLetter,
    /// A command went into transactions of several nonces though the story gives no reason to.
    SentAgain,
    /// A command burnt an attempt though only a dependency was down.
    AttemptBurnt,
    /// Said by whoever ran the story: a service ended by itself, a good request was refused, something never settled.
    Story,
}

impl Sort {
    pub const ALL: [Self; 24] = [
        Self::MintedTwice,
        Self::PaidOutTwice,
        Self::DepositedTwice,
        Self::WrongMint,
        Self::UnpaidMint,
        Self::StrangeMint,
        Self::IntentLost,
        Self::PaymentLost,
        Self::Abandoned,
        Self::FalseFailure,
        Self::FalseSuccess,
        Self::LegDiffers,
        Self::OutcomeLost,
        Self::ReportLost,
        Self::LeftOver,
        Self::MoneyMissing,
        Self::BackingDiffers,
        Self::NonceGap,
        Self::Unstored,
        Self::StaleLease,
        Self::DeadLetter,
        Self::SentAgain,
        Self::AttemptBurnt,
        Self::Story,
    ];

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
    pub sort: Sort,
    /// An intent id, txRef, receipt, nonce or queue.
    pub subject: String,
    pub detail: String,
}

impl Violation {
    pub fn new(sort: Sort, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            sort,
            subject: subject.into(),
            detail: detail.into(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}: {}", self.sort, self.subject, self.detail)
    }
}
