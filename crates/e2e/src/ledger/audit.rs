//! Finds violations in gathered facts. Pure, so that a test plants each kind of violation.

mod money;

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use testkit::escrow_events::{EscrowEvent, EscrowEventKind};

use super::facts::{AuditFacts, DecisionCopy, Exception, ExpectedResult, SentIntent};
use super::violation::{Violation, ViolationKind};
use crate::SHILLING;

/// Paid shillings by what became of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub paid: u64,
    /// In final blocks.
    pub minted: u64,
    pub in_flight: u64,
    pub held: u64,
    pub owed: u64,
    /// Settled by a person.
    pub settled: u64,
}

#[derive(Debug, Clone, Default, Serialize)]
pub struct AuditResult {
    pub totals: Totals,
    /// Number of intents that reached their expected end.
    pub settled: usize,
    /// Number of intents still in progress.
    pub pending: usize,
    pub violations: Vec<Violation>,
}

impl AuditResult {
    pub fn count(&self, which: impl Fn(ViolationKind) -> bool) -> usize {
        self.violations
            .iter()
            .filter(|violation| which(violation.kind))
            .count()
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

pub fn audit(facts: &AuditFacts) -> AuditResult {
    let mut audit = Audit::new(facts);
    audit.chain();
    audit.intents();
    audit.rows();
    audit.money();
    audit.signers();
    audit.check_stored_before_sent();
    audit.check_leftovers();
    audit.result
}

struct Audit<'a> {
    facts: &'a AuditFacts,
    chain: BTreeMap<&'a str, OnChain<'a>>,
    legs: BTreeMap<&'a str, (&'a str, bool)>,
    decisions: BTreeMap<&'a str, &'a DecisionCopy>,
    /// Acknowledged payments, as txRef and shillings.
    reported: BTreeSet<(&'a str, u32)>,
    /// Intent ids by txRef, and what is owed back by receipt.
    ids: BTreeMap<&'a str, &'a str>,
    owed: BTreeMap<&'a str, &'a Exception>,
    /// txRefs that are held for a person.
    held: BTreeSet<&'a str>,
    /// Intents with an open work item.
    with_open_work: BTreeSet<&'a str>,
    /// Shillings of mints that a fork may still undo: in flight.
    mined: u64,
    result: AuditResult,
}

impl<'a> Audit<'a> {
    fn new(facts: &'a AuditFacts) -> Self {
        let mut chain: BTreeMap<&str, OnChain<'_>> = BTreeMap::new();
        for event in &facts.events {
            let of = chain.entry(&event.intent_id).or_default();
            match event.kind {
                EscrowEventKind::Submitted => of.deposits.push(event),
                EscrowEventKind::Executed => of.mints.push(event),
                EscrowEventKind::Refunded => of.refunds.push(event),
            }
        }
        let reported = facts.sent.payments.values();
        let owed = facts.exceptions.iter().filter(|row| row.kind == "owed_to_payer");
        let open = |exception: &&Exception| exception.open && exception.is_hold;
        Self {
            chain,
            legs: facts
                .legs
                .iter()
                .map(|leg| (leg.id.as_str(), (leg.leg.as_str(), leg.is_final)))
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
            with_open_work: facts
                .items
                .iter()
                .filter(|item| matches!(item.state.as_str(), "ready" | "in_attempt"))
                .map(|item| item.id.as_str())
                .collect(),
            mined: 0,
            result: AuditResult::default(),
            facts,
        }
    }

    fn report_violation(&mut self, kind: ViolationKind, subject: &str, detail: impl Into<String>) {
        self.result.violations.push(Violation::new(kind, subject, detail));
    }

    fn paid_out_once(&mut self, id: &str, on_chain: &OnChain<'_>) {
        if on_chain.deposits.len() > 1 {
            self.report_violation(
                ViolationKind::DepositedTwice,
                id,
                format!("{} deposits", on_chain.deposits.len()),
            );
        }
        if on_chain.mints.len() > 1 {
            self.report_violation(
                ViolationKind::MintedTwice,
                id,
                format!("{} mints", on_chain.mints.len()),
            );
        }
        if on_chain.refunds.len() > 1 || !(on_chain.mints.is_empty() || on_chain.refunds.is_empty()) {
            let (mints, refunds) = (on_chain.mints.len(), on_chain.refunds.len());
            self.report_violation(
                ViolationKind::PaidOutTwice,
                id,
                format!("{mints} mints and {refunds} refunds"),
            );
        }
    }

    /// Checks that each intent was deposited and paid out at most once, as requested, and that there is no other mint.
    fn chain(&mut self) {
        let mut minted = 0;
        let mut pending = 0;
        for (id, on_chain) in std::mem::take(&mut self.chain) {
            minted += on_chain.mints.iter().map(|mint| mint.amount).sum::<u128>();
            if on_chain.leg() == Some("escrowed") {
                pending += on_chain.deposits.first().map_or(0, |deposit| deposit.amount);
            }
            self.paid_out_once(id, &on_chain);
            match self.facts.sent.intents.get(id) {
                Some(intent) => self.mints_of(id, intent, &on_chain),
                None if on_chain.mints.is_empty() => {}
                None => self.report_violation(ViolationKind::UnknownMint, id, "no client sent this intent"),
            }
            self.chain.insert(id, on_chain);
        }
        if minted != self.facts.minted {
            let supply = self.facts.minted;
            self.report_violation(
                ViolationKind::UnknownMint,
                "supply",
                format!("rose by {supply}, the escrow minted {minted}"),
            );
        }
        if pending != self.facts.pending {
            let held = self.facts.pending;
            self.report_violation(
                ViolationKind::BackingDiffers,
                "escrow",
                format!("keeps {held} for deposits of {pending}"),
            );
        }
    }

    fn mints_of(&mut self, id: &str, intent: &SentIntent, on_chain: &OnChain<'_>) {
        let asked = u128::from(intent.shillings) * SHILLING;
        for mint in &on_chain.mints {
            if mint.amount != asked || !mint.user.eq_ignore_ascii_case(&intent.user) {
                self.report_violation(
                    ViolationKind::WrongMint,
                    id,
                    format!("{} to {}", mint.amount, mint.user),
                );
            }
        }
        let reported = self
            .reported
            .contains(&(intent.tx_ref.as_str(), intent.shillings));
        if !on_chain.mints.is_empty() && !reported {
            self.report_violation(ViolationKind::UnpaidMint, id, "no such payment was reported");
        }
    }

    /// Checks that each acknowledged intent is stored, and has reached its end or is in progress.
    fn intents(&mut self) {
        let known: BTreeSet<&str> = self.facts.intents.iter().map(|row| row.id.as_str()).collect();
        for (id, intent) in &self.facts.sent.intents {
            if !known.contains(id.as_str()) {
                self.report_violation(
                    ViolationKind::IntentLost,
                    id,
                    format!("{} was acknowledged", intent.tx_ref),
                );
                continue;
            }
            let on_chain = self.chain.get(id.as_str()).and_then(OnChain::leg);
            let held = self.held.contains(intent.tx_ref.as_str());
            let row = self.legs.get(id.as_str()).copied();
            let (leg, is_final) = row.unwrap_or(("", false));
            match (intent.expected, on_chain) {
                (ExpectedResult::Minted, Some("executed"))
                | (ExpectedResult::Refunded | ExpectedResult::NotMinted, Some("refunded"))
                    if is_final =>
                {
                    self.result.settled += 1;
                }
                (ExpectedResult::Held, Some("escrowed")) if held => self.result.settled += 1,
                (ExpectedResult::NotMinted, None) if leg == "dropped" => self.result.settled += 1,
                (
                    ExpectedResult::Refunded | ExpectedResult::NotMinted | ExpectedResult::Held,
                    Some("executed"),
                ) => {
                    self.report_violation(
                        ViolationKind::FalseSuccess,
                        id,
                        format!("minted, though {:?} was expected", intent.expected),
                    );
                }
                (ExpectedResult::Minted | ExpectedResult::Held, Some("refunded")) => {
                    self.report_violation(
                        ViolationKind::FalseFailure,
                        id,
                        format!("refunded, though {:?} was expected", intent.expected),
                    );
                }
                _ if held || matches!(leg, "rejected" | "dropped") => {
                    let detail = format!("held or failed: {row:?}, {:?} was expected", intent.expected);
                    self.report_violation(ViolationKind::FalseFailure, id, detail);
                }
                _ => self.count_in_progress(id, intent, on_chain),
            }
        }
    }

    fn count_in_progress(&mut self, id: &str, intent: &SentIntent, on_chain: Option<&str>) {
        let decided = self.decisions.get(intent.tx_ref.as_str());
        let commanded = decided.is_some_and(|row| row.live_command.is_some());
        // Mined and not final yet, or waiting for a transaction, a block or a message.
        let paid_out = matches!(on_chain, Some("executed" | "refunded"));
        if paid_out || commanded || self.with_open_work.contains(id) || !self.facts.leftovers.is_empty() {
            self.result.pending += 1;
        } else {
            let row = self.legs.get(id);
            self.report_violation(
                ViolationKind::Abandoned,
                id,
                format!("{} is at {row:?}, on chain {on_chain:?}", intent.tx_ref),
            );
        }
    }

    /// Compares the rows of the services with the chain and with each other.
    fn rows(&mut self) {
        let of_intent: BTreeMap<&str, &str> = self
            .facts
            .intents
            .iter()
            .map(|row| (row.id.as_str(), row.tx_ref.as_str()))
            .collect();
        for (id, (leg, is_final)) in self.legs.clone() {
            let on_chain = self.chain.get(id).and_then(OnChain::leg);
            let fits = match on_chain {
                None => matches!(leg, "queued" | "submitting" | "rejected" | "dropped"),
                Some("escrowed") => matches!(leg, "escrowed" | "executing" | "refunding"),
                Some(state) => leg == state,
            };
            if !fits {
                self.report_violation(
                    ViolationKind::LegDiffers,
                    id,
                    format!("the row says {leg}, the chain {on_chain:?}"),
                );
            }
            let decided = of_intent.get(id).and_then(|tx_ref| self.decisions.get(tx_ref));
            let callback_copy = decided.map(|row| (row.chain_leg.as_str(), row.chain_final));
            let ended = is_final || matches!(leg, "rejected" | "dropped");
            // An intent without a deposit has nothing that could become final.
            if ended && callback_copy != Some((leg, is_final)) {
                self.report_violation(
                    ViolationKind::OutcomeLost,
                    id,
                    format!("the executor says {leg} for good, the callback service {callback_copy:?}"),
                );
            }
        }
        for tx_ref in &self.facts.unprocessed_reports {
            self.report_violation(ViolationKind::ReportLost, tx_ref, "stored, and never processed");
        }
    }
}

#[cfg(test)]
mod tests;
