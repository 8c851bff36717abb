//! What one customer does: a pure function of the seed and the customer's number.

use serde_json::{Value, json};
use testkit::client::{base_units, now};

use crate::ledger::ExpectedResult;

/// How a customer pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Pays,
    /// Sends the same report this many times at once.
    Repeats(usize),
    /// M-Pesa is faster than the intent.
    PaysEarly,
    Declines,
    /// A user whom the escrow does not mint for.
    NotCompliant,
    PaysAnotherAmount,
}

/// How many of a hundred customers show each behaviour. The rest simply pay.
#[derive(Debug, Clone, Copy)]
pub struct BehaviourMix {
    pub repeat: u32,
    pub repeated: usize,
    pub early: u32,
    pub decline: u32,
    pub not_compliant: u32,
    pub another_amount: u32,
}

impl BehaviourMix {
    /// Everything that happens in an ordinary week.
    pub const EVERYDAY: Self = Self {
        repeat: 8,
        repeated: 3,
        early: 6,
        decline: 3,
        not_compliant: 3,
        another_amount: 2,
    };
    /// Every report is sent fifty times at once.
    pub const DUPLICATE_STORM: Self = Self {
        repeat: 100,
        repeated: 50,
        early: 0,
        decline: 0,
        not_compliant: 0,
        another_amount: 0,
    };
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CustomerPlan {
    pub behaviour: Behaviour,
    pub tx_ref: String,
    pub key: String,
    pub receipt: String,
    pub shillings: u32,
    /// Which of the run's users.
    pub user: usize,
}

impl CustomerPlan {
    /// `run` keeps apart what several runs in one database would confuse.
    pub fn of(seed: u64, run: &str, number: usize, mix: &BehaviourMix) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut left = random.u32(0..100);
        let mut draw = |chance: u32| {
            let hit = left < chance;
            left = if hit { u32::MAX } else { left - chance };
            hit
        };
        let behaviour = if draw(mix.repeat) {
            Behaviour::Repeats(mix.repeated)
        } else if draw(mix.early) {
            Behaviour::PaysEarly
        } else if draw(mix.decline) {
            Behaviour::Declines
        } else if draw(mix.not_compliant) {
            Behaviour::NotCompliant
        } else if draw(mix.another_amount) {
            Behaviour::PaysAnotherAmount
        } else {
            Behaviour::Pays
        };
        Self {
            behaviour,
            tx_ref: format!("{run}-{number}"),
            key: format!("chaos-{run}-{number:010}"),
            receipt: format!("{run}R{number:07}"),
            shillings: random.u32(1..=3),
            user: random.usize(..),
        }
    }

    pub fn expected(&self) -> ExpectedResult {
        match self.behaviour {
            Behaviour::Pays | Behaviour::Repeats(_) | Behaviour::PaysEarly => ExpectedResult::Minted,
            Behaviour::NotCompliant => ExpectedResult::Refunded,
            Behaviour::Declines => ExpectedResult::NotMinted,
            Behaviour::PaysAnotherAmount => ExpectedResult::Held,
        }
    }

    pub fn intent_body(&self, user: &str) -> Value {
        json!({
            "user": user, "amount": base_units(self.shillings), "countryCode": "KES", "txRef": self.tx_ref,
        })
    }

    /// What M-Pesa reports; `None` for the shillings of a declined payment.
    pub fn report_body(&self) -> anyhow::Result<(Value, Option<u32>)> {
        let mut body = json!({
            "txRef": self.tx_ref, "amount": self.shillings.to_string(), "phone": "254708374149",
            "timestamp": now()?,
        });
        let paid = match self.behaviour {
            Behaviour::Declines => {
                body["resultCode"] = json!(1032);
                return Ok((body, None));
            }
            Behaviour::PaysAnotherAmount => self.shillings + 1,
            _ => self.shillings,
        };
        body["amount"] = json!(paid.to_string());
        body["receipt"] = json!(self.receipt);
        body["resultCode"] = json!(0);
        Ok((body, Some(paid)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_plans_and_every_behaviour_occurs() {
        let plans_of = |seed| -> Vec<CustomerPlan> {
            (0..1000)
                .map(|number| CustomerPlan::of(seed, "T", number, &BehaviourMix::EVERYDAY))
                .collect()
        };
        assert_eq!(plans_of(7), plans_of(7));
        assert_ne!(plans_of(7), plans_of(8));
        let plans = plans_of(7);
        for behaviour in [
            Behaviour::Pays,
            Behaviour::Repeats(3),
            Behaviour::PaysEarly,
            Behaviour::Declines,
            Behaviour::NotCompliant,
            Behaviour::PaysAnotherAmount,
        ] {
            assert!(
                plans.iter().any(|plan| plan.behaviour == behaviour),
                "{behaviour:?}"
            );
        }
    }
}
