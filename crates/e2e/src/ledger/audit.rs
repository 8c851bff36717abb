//! Judges gathered facts: pure, so each kind of violation is planted in a test.

mod money;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use testkit::escrow_events::{EscrowEvent, Kind};

use super::facts::{Decided, Exception, Facts, SentIntent, Wanted};
use super::violation::{Sort, Violation};
use crate::SHILLING;

/// Where the paid shillings are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub paid: u64,
    /// In final blocks.
    pub minted: u64,
    pub in_flight: u64,
    pub held: u64,
    pub owed: u64,
    /// By a person.
    pub settled: u64,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct Verdict {
    pub totals: Totals,
    /// Intents that are where they must be.
    pub settled: usize,
    /// Honestly on their way.
    pub pending: usize,
    pub violations: Vec<Violation>,
}

impl Verdict {
    pub fn count(&self, which: impl Fn(Sort) -> bool) -> usize {
        self.violations.iter().filter(|found| which(found.sort)).count()
    }
}

/// What the chain did for one intent.
#[derive(Debug, Default)]
struct OnChain<'a> {
    deposits: Vec<&'a EscrowEvent>,
    mints: Vec<&'a EscrowEvent>,
    refunds: Vec<&'a EscrowEvent>,
}

impl OnChain<'_> {
    fn leg(&self) -> Option<&'static str> {
        match (
            self.deposits.is_empty(),
            self.mints.is_empty(),
            self.refunds.is_empty(),
        ) {
            (_, false, _) => Some("executed"),
            (_, true, false) => Some("refunded"),
            (false, true, true) => Some("escrowed"),
            (true, true, true) => None,
        }
    }
}

pub fn audit(facts: &Facts) -> Verdict {
    let mut audit = Audit::new(facts);
    audit.chain();
    audit.intents();
    audit.rows();
    audit.money();
    audit.signers();
    audit.stored_first();
    audit.left_over();
    audit.verdict
}

struct Audit<'a> {
    facts: &'a Facts,
    chain: BTreeMap<&'a str, OnChain<'a>>,
    legs: BTreeMap<&'a str, (&'a str, bool)>,
    decisions: BTreeMap<&'a str, &'a Decided>,
    /// Acknowledged payments, as txRef and shillings.
    reported: BTreeSet<(&'a str, u32)>,
    /// Intent ids by txRef, and what is owed back by receipt.
    ids: BTreeMap<&'a str, &'a str>,
    owed: BTreeMap<&'a str, &'a Exception>,
    /// txRefs that a person must look at.
    held: BTreeSet<&'a str>,
    /// Intents with work that somebody will do.
    worked_on: BTreeSet<&'a str>,
    /// Shillings of mints that a fork may still take back: in flight.
    mined: u64,
    verdict: Verdict,
}

impl<'a> Audit<'a> {
    fn new(facts: &'a Facts) -> Self {
        let mut chain: BTreeMap<&str, OnChain<'_>> = BTreeMap::new();
        for event in &facts.events {
            let of = chain.entry(&event.intent_id).or_default();
            match event.kind {
                Kind::Submitted => of.deposits.push(event),
                Kind::Executed => of.mints.push(event),
                Kind::Refunded => of.refunds.push(event),
            }
        }
        let reported = facts.sent.payments.values();
        let owed = facts.exceptions.iter().filter(|row| row.kind == "owed_to_payer");
        let open = |exception: &&Exception| exception.open && exception.holds;
        Self {
            chain,
            legs: facts
                .legs
                .iter()
                .map(|leg| (leg.id.as_str(), (leg.at.as_str(), leg.last)))
                .collect(),
            decisions: facts
                .decisions
                .iter()
                .map(|row| (row.tx_ref.as_str(), row))
                .collect(),
            reported: reported
                .map(|payment| (payment.tx_ref.as_str(), payment.shillings))
                .collect(),
            ids: facts
                .intents
                .iter()
                .map(|row| (row.tx_ref.as_str(), row.id.as_str()))
                .collect(),
            owed: owed
                .filter_map(|row| Some((row.receipt.as_deref()?, row)))
                .collect(),
            held: facts
                .exceptions
                .iter()
                .filter(open)
                .map(|row| row.tx_ref.as_str())
                .collect(),
            worked_on: facts
                .items
                .iter()
                .filter(|item| matches!(item.state.as_str(), "ready" | "in_attempt"))
                .map(|item| item.id.as_str())
                .collect(),
            mined: 0,
            verdict: Verdict::default(),
            facts,
        }
    }

    fn found(&mut self, sort: Sort, subject: &str, detail: impl Into<String>) {
        self.verdict
            .violations
            .push(Violation::new(sort, subject, detail));
    }

    /// Once each, as asked for, and nothing that nobody asked for.
    fn chain(&mut self) {
        let mut minted = 0;
        let mut pending = 0;
        for (id, on_chain) in std::mem::take(&mut self.chain) {
            minted += on_chain.mints.iter().map(|mint| mint.amount).sum::<u128>();
            if on_chain.leg() == Some("escrowed") {
                pending += on_chain.deposits.first().map_or(0, |deposit| deposit.amount);
            }
            if on_chain.deposits.len() > 1 {
                self.found(
                    Sort::DepositedTwice,
                    id,
                    format!("{} deposits", on_chain.deposits.len()),
                );
            }
            if on_chain.mints.len() > 1 {
                self.found(Sort::MintedTwice, id, format!("{} mints", on_chain.mints.len()));
            }
            if on_chain.refunds.len() > 1 || !(on_chain.mints.is_empty() || on_chain.refunds.is_empty()) {
                let (mints, refunds) = (on_chain.mints.len(), on_chain.refunds.len());
                self.found(
                    Sort::PaidOutTwice,
                    id,
                    format!("{mints} mints and {refunds} refunds"),
                );
            }
            match self.facts.sent.intents.get(id) {
                Some(intent) => self.mints_of(id, intent, &on_chain),
                None if on_chain.mints.is_empty() => {}
                None => self.found(Sort::StrangeMint, id, "nobody sent this intent"),
            }
            self.chain.insert(id, on_chain);
        }
        if minted != self.facts.minted {
            let supply = self.facts.minted;
            self.found(
                Sort::StrangeMint,
                "supply",
                format!("rose by {supply}, the escrow minted {minted}"),
            );
        }
        if pending != self.facts.pending {
            let held = self.facts.pending;
            self.found(
                Sort::BackingDiffers,
                "escrow",
                format!("keeps {held} for deposits of {pending}"),
            );
        }
    }

    fn mints_of(&mut self, id: &str, intent: &SentIntent, on_chain: &OnChain<'_>) {
        let asked = u128::from(intent.shillings) * SHILLING;
        for mint in &on_chain.mints {
            if mint.amount != asked || !mint.user.eq_ignore_ascii_case(&intent.user) {
                self.found(Sort::WrongMint, id, format!("{} to {}", mint.amount, mint.user));
            }
        }
        let reported = self
            .reported
            .contains(&(intent.tx_ref.as_str(), intent.shillings));
        if !on_chain.mints.is_empty() && !reported {
            self.found(Sort::UnpaidMint, id, "no such payment was reported");
        }
    }

    /// Each acknowledged intent is there, and has come to its end or is on the way to it.
    fn intents(&mut self) {
        let known: BTreeSet<&str> = self.facts.intents.iter().map(|row| row.id.as_str()).collect();
        for (id, intent) in &self.facts.sent.intents {
            if !known.contains(id.as_str()) {
                self.found(
                    Sort::IntentLost,
                    id,
                    format!("{} was acknowledged", intent.tx_ref),
                );
                continue;
            }
            let leg = self.chain.get(id.as_str()).and_then(OnChain::leg);
            let held = self.held.contains(intent.tx_ref.as_str());
            let row = self.legs.get(id.as_str()).copied();
            let (at, last) = row.unwrap_or(("", false));
            match (intent.wanted, leg) {
                (Wanted::Minted, Some("executed"))
                | (Wanted::Refunded | Wanted::NotMinted, Some("refunded"))
                    if last =>
                {
                    self.verdict.settled += 1;
                }
                (Wanted::Held, Some("escrowed")) if held => self.verdict.settled += 1,
                (Wanted::NotMinted, None) if at == "dropped" => self.verdict.settled += 1,
                (Wanted::Refunded | Wanted::NotMinted | Wanted::Held, Some("executed")) => {
                    self.found(
                        Sort::FalseSuccess,
                        id,
                        format!("minted, though {:?} was due", intent.wanted),
                    );
                }
                (Wanted::Minted | Wanted::Held, Some("refunded")) => {
                    self.found(
                        Sort::FalseFailure,
                        id,
                        format!("refunded, though {:?} was due", intent.wanted),
                    );
                }
                _ if held || matches!(at, "rejected" | "dropped") => {
                    let detail = format!("held or failed: {row:?}, {:?} was due", intent.wanted);
                    self.found(Sort::FalseFailure, id, detail);
                }
                _ => self.on_its_way(id, intent, leg),
            }
        }
    }

    fn on_its_way(&mut self, id: &str, intent: &SentIntent, leg: Option<&str>) {
        let decided = self.decisions.get(intent.tx_ref.as_str());
        let commanded = decided.is_some_and(|row| row.live_command.is_some());
        // What is mined and waits to be final, and what waits for a transaction, a block or a message.
        let paid_out = matches!(leg, Some("executed" | "refunded"));
        if paid_out || commanded || self.worked_on.contains(id) || !self.facts.waiting.is_empty() {
            self.verdict.pending += 1;
        } else {
            let row = self.legs.get(id);
            self.found(
                Sort::Abandoned,
                id,
                format!("{} stands at {row:?}, on chain {leg:?}", intent.tx_ref),
            );
        }
    }

    /// The services' rows against the chain, and each against the other.
    fn rows(&mut self) {
        let of_intent: BTreeMap<&str, &str> = self
            .facts
            .intents
            .iter()
            .map(|row| (row.id.as_str(), row.tx_ref.as_str()))
            .collect();
        for (id, (leg, last)) in self.legs.clone() {
            let on_chain = self.chain.get(id).and_then(OnChain::leg);
            let fits = match on_chain {
                None => matches!(leg, "queued" | "submitting" | "rejected" | "dropped"),
                Some("escrowed") => matches!(leg, "escrowed" | "executing" | "refunding"),
                Some(state) => leg == state,
            };
            if !fits {
                self.found(
                    Sort::LegDiffers,
                    id,
                    format!("the row says {leg}, the chain {on_chain:?}"),
                );
            }
            let decided = of_intent.get(id).and_then(|tx_ref| self.decisions.get(tx_ref));
            let told = decided.map(|row| (row.chain_leg.as_str(), row.chain_final));
            let ended = last || matches!(leg, "rejected" | "dropped");
            // A deposit that never was has nothing to become final.
            if ended && told != Some((leg, last)) {
                self.found(
                    Sort::OutcomeLost,
                    id,
                    format!("the executor says {leg} for ever, the decider {told:?}"),
                );
            }
        }
        for tx_ref in &self.facts.unjudged {
            self.found(Sort::ReportLost, tx_ref, "stored, and never judged");
        }
    }
}

#[cfg(test)]
mod tests;
