//! The second half of the audit: money, nonces, and leftovers.

use std::collections::{BTreeMap, BTreeSet};

use super::{Audit, OnChain};
use crate::SHILLING;
use crate::ledger::facts::Payment;
use crate::ledger::violation::{Violation, ViolationKind};

impl Audit<'_> {
    /// Checks that every paid shilling is minted, in flight, held, owed, or settled by a person.
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
                self.report_violation(
                    ViolationKind::PaymentLost,
                    receipt,
                    format!("acknowledged, stored as {row:?}"),
                );
            }
        }
        for payment in &self.facts.payments {
            self.result.totals.paid += payment.shillings;
            if !self.account_for(payment) {
                self.report_violation(
                    ViolationKind::MoneyMissing,
                    &payment.receipt,
                    format!("{} shillings are not accounted for", payment.shillings),
                );
            }
        }
        let minted = self.facts.minted / SHILLING;
        let placed = self.result.totals.minted + self.mined;
        if u128::from(placed) != minted {
            self.report_violation(
                ViolationKind::MoneyMissing,
                "mints",
                format!("{placed} shillings of receipts for {minted} minted"),
            );
        }
    }

    /// Adds the payment to the total that accounts for it; false if none does.
    fn account_for(&mut self, payment: &Payment) -> bool {
        let owed = self.owed.get(payment.receipt.as_str());
        let id = self.ids.get(payment.tx_ref.as_str());
        let leg = id.and_then(|id| self.chain.get(*id)).and_then(OnChain::leg);
        let is_final = id
            .and_then(|id| self.legs.get(*id))
            .is_some_and(|(_, is_final)| *is_final);
        let totals = &mut self.result.totals;
        let bucket = match (owed, leg) {
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
        *bucket += payment.shillings;
        true
    }

    /// Checks that every allocated nonce is in a block, and that no transaction was signed under an expired lease.
    pub(super) fn signers(&mut self) {
        for signer in &self.facts.signers {
            if signer.next_nonce > signer.confirmed_nonce {
                let detail = format!(
                    "allocated up to {}, in blocks up to {}",
                    signer.next_nonce, signer.confirmed_nonce
                );
                self.report_violation(ViolationKind::NonceGap, &signer.address, detail);
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
                self.result.violations.push(Violation::new(
                    ViolationKind::StaleLease,
                    attempt.nonce.to_string(),
                    detail,
                ));
            }
            *token = attempt.fencing_token.max(*token);
        }
    }

    /// Checks that every transaction that changed the escrow was stored before it was sent.
    pub(super) fn check_stored_before_sent(&mut self) {
        let attempts = self.facts.attempts.iter();
        let stored: BTreeSet<&str> = attempts.map(|attempt| attempt.tx_hash.as_str()).collect();
        for event in &self.facts.events {
            if !stored.contains(event.tx_hash.as_str()) {
                let detail = format!("{:?} in {}, of which there is no row", event.kind, event.tx_hash);
                self.report_violation(ViolationKind::SentUnstored, &event.intent_id, detail);
            }
        }
    }

    pub(super) fn check_leftovers(&mut self) {
        for leftover in &self.facts.leftovers {
            self.report_violation(
                ViolationKind::LeftOver,
                &leftover.place,
                format!("{} are left", leftover.count),
            );
        }
        for dead_letter in &self.facts.dead_letters {
            let explained_classes = dead_letter.origin.is_some()
                && dead_letter.text.is_some()
                && dead_letter
                    .class
                    .as_deref()
                    .is_some_and(|class| self.facts.explained_classes.contains(&class));
            if !explained_classes {
                self.report_violation(
                    ViolationKind::DeadLetter,
                    &dead_letter.queue,
                    format!("{:?}: {:?}", dead_letter.class, dead_letter.text),
                );
            }
        }
        for item in &self.facts.items {
            if self.facts.only_outages && item.failures > 0 {
                let detail = format!("{} of {}", item.failures, item.command);
                self.report_violation(ViolationKind::AttemptWasted, &item.id, detail);
            }
            if self.facts.one_nonce_per_command && item.nonces > 1 {
                let detail = format!("{} under {} nonces", item.command, item.nonces);
                self.report_violation(ViolationKind::SecondNonce, &item.id, detail);
            }
        }
        if self.facts.only_outages && self.facts.retried > 0 {
            let detail = format!("{} messages went round again", self.facts.retried);
            self.report_violation(ViolationKind::AttemptWasted, "retries", detail);
        }
    }
}
