//! What became of a paid shilling: one fate for each paid receipt, so that no shilling is counted twice or not at all.

use strum::{Display, EnumString, IntoStaticStr, VariantArray};

use crate::intent::{ChainLeg, Finality, PaymentLeg};

/// The money equation, as the pages and the metric state it.
pub const EQUATION: &str = "Every paid shilling is minted, in flight, waiting for its intent, held, owed to its payer or \
                            settled by hand; what is none of these is unreconciled and must be 0.";

/// The fate of a paid receipt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, VariantArray, IntoStaticStr, Display, EnumString)]
#[strum(const_into_str, serialize_all = "snake_case", parse_err_ty = UnknownFate, parse_err_fn = UnknownFate::new)]
pub enum Fate {
    /// Its mint is final.
    Minted,
    /// It will be minted, or its deposit goes back, without a person.
    InFlight,
    /// No intent has its txRef yet.
    Orphaned,
    /// An open exception stops everything about its txRef.
    Held,
    /// A person must pay it back.
    Owed,
    /// A person has resolved what became of it, mostly by paying it back.
    Settled,
    /// Nothing explains it.
    Unreconciled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a fate of a payment")]
pub struct UnknownFate;

impl UnknownFate {
    const fn new(_: &str) -> Self {
        Self
    }
}

impl Fate {
    pub const ALL: [Self; Self::VARIANTS.len()] = crate::variants();

    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

/// What is owed for a receipt: its exception `owed_to_payer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, VariantArray)]
pub enum Debt {
    None,
    Open,
    Resolved,
    /// Resolved, and so is the receipt's `already_owed`: nothing was paid back, and it may be minted.
    Void,
}

impl Debt {
    pub const ALL: [Self; Self::VARIANTS.len()] = crate::variants();
}

/// The exceptions that hold a txRef.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, and all of them may be true at once"
)]
pub struct Holds {
    /// Any is open.
    pub open: bool,
    /// A person has resolved its `orphan_payment`.
    pub orphan_resolved: bool,
    /// A person has resolved its `amount_mismatch`: the deposit goes back.
    pub mismatch_resolved: bool,
    /// A person has resolved its `mint_without_payment`.
    pub unpaid_mint_resolved: bool,
}

/// Everything that the fate of a receipt depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReceiptFacts {
    /// It is the payment of its txRef; any further receipt is other money.
    pub is_first: bool,
    pub has_intent: bool,
    pub chain_leg: ChainLeg,
    pub payment_leg: PaymentLeg,
    pub debt: Debt,
    pub holds: Holds,
}

/// The fate of one paid receipt. A final mint comes before a debt: whoever pays back all that is owed must not pay for
/// what the payer holds as tokens.
pub const fn fate(facts: ReceiptFacts) -> Fate {
    let minted = matches!(facts.chain_leg, ChainLeg::Executed(Finality::Final))
        && matches!(facts.payment_leg, PaymentLeg::Confirmed);
    match facts.debt {
        _ if minted && facts.is_first => Fate::Minted,
        Debt::Open => Fate::Owed,
        Debt::Resolved => Fate::Settled,
        Debt::None | Debt::Void if !facts.is_first => Fate::Unreconciled,
        Debt::None | Debt::Void if facts.holds.open => Fate::Held,
        Debt::None | Debt::Void => match facts.payment_leg {
            PaymentLeg::Confirmed | PaymentLeg::Mismatched => matched(facts),
            PaymentLeg::Awaiting | PaymentLeg::Declined | PaymentLeg::Expired => unmatched(facts),
        },
    }
}

/// The fate of a payment that its intent accounts for: neither minted, owed nor held.
const fn matched(facts: ReceiptFacts) -> Fate {
    let confirmed = matches!(facts.payment_leg, PaymentLeg::Confirmed);
    match facts.chain_leg {
        ChainLeg::Executed(_) if confirmed => Fate::InFlight,
        ChainLeg::Executed(_) if facts.holds.unpaid_mint_resolved => Fate::Settled,
        // What was paid would be owed.
        ChainLeg::Executed(_)
        | ChainLeg::Refunded(Finality::Final)
        | ChainLeg::Rejected
        | ChainLeg::Dropped => Fate::Unreconciled,
        _ if confirmed || facts.holds.mismatch_resolved => Fate::InFlight,
        _ => Fate::Unreconciled,
    }
}

/// The fate of a payment that was not matched with an intent: neither owed nor held.
const fn unmatched(facts: ReceiptFacts) -> Fate {
    match facts.chain_leg {
        _ if facts.holds.orphan_resolved => Fate::Settled,
        ChainLeg::Executed(_) if facts.holds.unpaid_mint_resolved => Fate::Settled,
        _ if !facts.has_intent => Fate::Orphaned,
        // The next outcome of the intent matches it.
        ChainLeg::Queued | ChainLeg::Submitting | ChainLeg::Escrowed
            if !matches!(facts.payment_leg, PaymentLeg::Expired) =>
        {
            Fate::InFlight
        }
        _ => Fate::Unreconciled,
    }
}

/// Sums by fate, whole shillings. A sum that exceeds `u64` stays at `u64::MAX`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FateTotals([u64; Fate::ALL.len()]);

impl FateTotals {
    pub const fn of(&self, fate: Fate) -> u64 {
        self.0[fate as usize]
    }

    pub const fn add(&mut self, fate: Fate, shillings: u64) {
        self.0[fate as usize] = self.of(fate).saturating_add(shillings);
    }

    /// All that was received: each shilling has one fate.
    pub fn received(&self) -> u64 {
        self.0.iter().fold(0, |sum, part| sum.saturating_add(*part))
    }
}

#[cfg(test)]
mod tests;
