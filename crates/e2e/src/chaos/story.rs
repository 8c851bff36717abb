//! What one customer does: a pure function of the seed and the customer's number.

use serde_json::{Value, json};
use testkit::client::{base_units, now};

use crate::ledger::Wanted;

/// How a customer pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Habit {
    Pays,
    /// The same report so many times at once.
    Repeats(usize),
    /// M-Pesa is faster than the intent.
    PaysEarly,
    Declines,
    /// A user whom the escrow does not mint for.
    NotCompliant,
    PaysAnotherAmount,
}

/// Which habits, out of a hundred customers. The rest simply pay.
#[derive(Debug, Clone, Copy)]
pub struct Mix {
    pub repeat: u32,
    pub repeated: usize,
    pub early: u32,
    pub decline: u32,
    pub not_compliant: u32,
    pub another_amount: u32,
}

impl Mix {
    /// Everything that happens in a good week.
    pub const EVERYDAY: Self = Self {
        repeat: 8,
        repeated: 3,
        early: 6,
        decline: 3,
        not_compliant: 3,
        another_amount: 2,
    };
    /// Every report fifty times at once.
    pub const STORM: Self = Self {
        repeat: 100,
        repeated: 50,
        early: 0,
        decline: 0,
        not_compliant: 0,
        another_amount: 0,
    };
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    pub habit: Habit,
    pub tx_ref: String,
    pub key: String,
    pub receipt: String,
    pub shillings: u32,
    /// Which of the run's users.
    pub user: usize,
}

impl Story {
    /// `run` keeps apart what several runs in one database would confuse.
    pub fn of(seed: u64, run: &str, number: usize, mix: &Mix) -> Self {
        let mut random = fastrand::Rng::with_seed(seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut left = random.u32(0..100);
        let mut falls = |chance: u32| {
            let hit = left < chance;
            left = if hit { u32::MAX } else { left - chance };
            hit
        };
        let habit = if falls(mix.repeat) {
            Habit::Repeats(mix.repeated)
        } else if falls(mix.early) {
            Habit::PaysEarly
        } else if falls(mix.decline) {
            Habit::Declines
        } else if falls(mix.not_compliant) {
            Habit::NotCompliant
        } else if falls(mix.another_amount) {
            Habit::PaysAnotherAmount
        } else {
            Habit::Pays
        };
        Self {
            habit,
            tx_ref: format!("{run}-{number}"),
            key: format!("chaos-{run}-{number:010}"),
            receipt: format!("{run}R{number:07}"),
            shillings: random.u32(1..=3),
            user: random.usize(..),
        }
    }

    pub fn wanted(&self) -> Wanted {
        match self.habit {
            Habit::Pays | Habit::Repeats(_) | Habit::PaysEarly => Wanted::Minted,
            Habit::NotCompliant => Wanted::Refunded,
            Habit::Declines => Wanted::NotMinted,
            Habit::PaysAnotherAmount => Wanted::Held,
        }
    }

    pub fn intent(&self, user: &str) -> Value {
        json!({
            "user": user, "amount": base_units(self.shillings), "countryCode": "KES", "txRef": self.tx_ref,
        })
    }

    /// What M-Pesa reports; `None` for the shillings of a declined payment.
    pub fn report(&self) -> anyhow::Result<(Value, Option<u32>)> {
        let mut body = json!({
            "txRef": self.tx_ref, "amount": self.shillings.to_string(), "phone": "254708374149",
            "timestamp": now()?,
        });
        let paid = match self.habit {
            Habit::Declines => {
                body["resultCode"] = json!(1032);
                return Ok((body, None));
            }
            Habit::PaysAnotherAmount => self.shillings + 1,
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
    fn the_same_seed_tells_the_same_stories_and_every_habit_comes_up() {
        let told = |seed| -> Vec<Story> {
            (0..1000)
                .map(|number| Story::of(seed, "T", number, &Mix::EVERYDAY))
                .collect()
        };
        assert_eq!(told(7), told(7));
        assert_ne!(told(7), told(8));
        let stories = told(7);
        for habit in [
            Habit::Pays,
            Habit::Repeats(3),
            Habit::PaysEarly,
            Habit::Declines,
            Habit::NotCompliant,
            Habit::PaysAnotherAmount,
        ] {
            assert!(stories.iter().any(|story| story.habit == habit), "{habit:?}");
        }
    }
}
