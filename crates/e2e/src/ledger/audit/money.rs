//! The second half of the audit: money, nonces, and what should not be there any more.

use std::collections::{BTreeMap, BTreeSet};

use super::{Audit, OnChain};
use crate::SHILLING;
use crate::ledger::facts::Payment;
use crate::ledger::violation::{Sort, Violation};

impl Audit<'_> {
    /// Every paid shilling is minted, on its way, held, owed, or settled by a person.
    pub(super) fn money(&mut self) {
        let stored: BTreeMap<&str, &Payment> = self
            .facts
            .payments
            .iter()
            .map(|row| (row.receipt.as_str(), row))
            .collect();
        for (receipt, sent) in &self.facts.sent.payments {
            let row = stored.get(receipt.as_str());
            if row.is_none_or(|row| row.tx_ref != sent.tx_ref || row.shillings != u64::from(sent.shillings)) {
                self.found(
                    Sort::PaymentLost,
                    receipt,
                    format!("acknowledged, stored as {row:?}"),
                );
            }
        }
        for payment in &self.facts.payments {
            self.verdict.totals.paid += payment.shillings;
            if !self.place(payment) {
                self.found(
                    Sort::MoneyMissing,
                    &payment.receipt,
                    format!("{} shillings are nowhere", payment.shillings),
                );
            }
        }
        let minted = self.facts.minted / SHILLING;
        let placed = self.verdict.totals.minted + self.mined;
        if u128::from(placed) != minted {
            self.found(
                Sort::MoneyMissing,
                "mints",
                format!("{placed} shillings of receipts for {minted} minted"),
            );
        }
    }

    /// Where one payment is; false if nowhere.
    fn place(&mut self, payment: &Payment) -> bool {
        let owed = self.owed.get(payment.receipt.as_str());
        let id = self.ids.get(payment.tx_ref.as_str());
        let leg = id.and_then(|id| self.chain.get(*id)).and_then(OnChain::leg);
        let is_final = id
            .and_then(|id| self.legs.get(*id))
            .is_some_and(|(_, last)| *last);
        let totals = &mut self.verdict.totals;
        let place = match (owed, leg) {
            (Some(owed), _) if owed.open => &mut totals.owed,
            (Some(_), _) => &mut totals.settled,
            (None, Some("executed")) if payment.is_first && is_final => &mut totals.minted,
            (None, Some("executed")) if payment.is_first => {
                self.mined += payment.shillings;
                &mut totals.in_flight
            }
            (None, _) if self.held.contains(payment.tx_ref.as_str()) => &mut totals.held,
            (None, leg) if payment.is_first && leg != Some("refunded") => &mut totals.in_flight,
            _ => return false,
        };
        *place += payment.shillings;
        true
    }

    /// No nonce of ours is left without a block, and nobody signed under a lease that had passed on.
    pub(super) fn signers(&mut self) {
        for signer in &self.facts.signers {
            if signer.next_nonce > signer.used {
                let detail = format!(
                    "we gave out up to {}, blocks hold {}",
                    signer.next_nonce, signer.used
                );
                self.found(Sort::NonceGap, &signer.address, detail);
            }
        }
        let mut newest: BTreeMap<&str, i64> = BTreeMap::new();
        for attempt in &self.facts.attempts {
            let token = newest.entry(&attempt.signer).or_default();
            if attempt.fencing_token < *token {
                let detail = format!(
                    "attempt {} under token {} after {token}",
                    attempt.id, attempt.fencing_token
                );
                self.verdict.violations.push(Violation::new(
                    Sort::StaleLease,
                    attempt.nonce.to_string(),
                    detail,
                ));
            }
            *token = attempt.fencing_token.max(*token);
        }
    }

    /// Whatever moved the escrow was stored before it was sent.
    pub(super) fn stored_first(&mut self) {
        let attempts = self.facts.attempts.iter();
        let stored: BTreeSet<&str> = attempts.map(|attempt| attempt.tx_hash.as_str()).collect();
        for event in &self.facts.events {
            if !stored.contains(event.tx_hash.as_str()) {
                let detail = format!("{:?} in {}, of which no row tells", event.kind, event.tx_hash);
                self.found(Sort::Unstored, &event.intent_id, detail);
            }
        }
    }

    pub(super) fn left_over(&mut self) {
        for waiting in &self.facts.waiting {
            self.found(
                Sort::LeftOver,
                &waiting.place,
                format!("{} are left", waiting.count),
            );
        }
        for dead in &self.facts.dead {
            let explained = dead.origin.is_some()
                && dead.text.is_some()
                && dead
                    .class
                    .as_deref()
                    .is_some_and(|class| self.facts.explained.contains(&class));
            if !explained {
                self.found(
                    Sort::DeadLetter,
                    &dead.queue,
                    format!("{:?}: {:?}", dead.class, dead.text),
                );
            }
        }
        for item in &self.facts.items {
            if self.facts.only_outages && item.failures > 0 {
                let detail = format!("{} of {}", item.failures, item.command);
                self.found(Sort::AttemptBurnt, &item.id, detail);
            }
            if self.facts.one_nonce_each && item.nonces > 1 {
                let detail = format!("{} under {} nonces", item.command, item.nonces);
                self.found(Sort::SentAgain, &item.id, detail);
            }
        }
        if self.facts.only_outages && self.facts.retried > 0 {
            let detail = format!("{} messages went round again", self.facts.retried);
            self.found(Sort::AttemptBurnt, "retries", detail);
        }
    }
}
