//! What happened to each intent in the escrow, collected from its events in the order of the chain.

use std::collections::BTreeMap;

use domain::address::Address;
use domain::ids::IntentId;
use domain::money::BaseUnits;
use domain::settlement::IntentStatus;

/// A deposit in the escrow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deposit {
    pub block: u64,
    pub user: Address,
    pub amount: BaseUnits,
    /// Empty if it is not a valid txRef.
    pub tx_ref: String,
}

/// The events of one intent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IntentHistory {
    pub deposited: Option<Deposit>,
    /// The block and the amount.
    pub executed: Option<(u64, BaseUnits)>,
    pub refunded: Option<(u64, BaseUnits)>,
    /// The intent was paid out more than once.
    pub paid_out_twice: bool,
}

impl IntentHistory {
    pub const fn status(&self) -> IntentStatus {
        match (&self.executed, &self.refunded) {
            (Some(_), _) => IntentStatus::Executed,
            (None, Some(_)) => IntentStatus::Refunded,
            (None, None) => IntentStatus::Pending,
        }
    }

    /// The same, for people.
    pub const fn state(&self) -> &'static str {
        match self.status() {
            IntentStatus::Executed => "executed",
            IntentStatus::Refunded => "refunded",
            IntentStatus::Pending | IntentStatus::Failed => "pending",
        }
    }
}

#[derive(Debug, Default)]
pub struct EscrowHistory {
    pub intents: BTreeMap<IntentId, IntentHistory>,
    pub events: u64,
}

impl EscrowHistory {
    pub fn record_deposit(&mut self, intent: IntentId, deposit: Deposit) {
        self.intents.entry(intent).or_default().deposited = Some(deposit);
    }

    pub fn record_mint(&mut self, intent: IntentId, block: u64, amount: BaseUnits) {
        let entry = self.paid_out(intent);
        entry.executed = Some((block, amount));
    }

    pub fn record_refund(&mut self, intent: IntentId, block: u64, amount: BaseUnits) {
        let entry = self.paid_out(intent);
        entry.refunded = Some((block, amount));
    }

    fn paid_out(&mut self, intent: IntentId) -> &mut IntentHistory {
        let entry = self.intents.entry(intent).or_default();
        entry.paid_out_twice |= entry.executed.is_some() || entry.refunded.is_some();
        entry
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_pay_out_of_either_kind_is_noticed() {
        let (intent, amount) = (IntentId::from_bytes([7; 32]), BaseUnits::new(1));
        let mint = |history: &mut EscrowHistory| history.record_mint(intent, 5, amount);
        let refund = |history: &mut EscrowHistory| history.record_refund(intent, 6, amount);
        for (events, twice) in [
            (vec![&mint as &dyn Fn(&mut EscrowHistory)], false),
            (vec![&refund], false),
            (vec![&mint, &mint], true),
            (vec![&mint, &refund], true),
            (vec![&refund, &mint], true),
        ] {
            let mut history = EscrowHistory::default();
            for event in events {
                event(&mut history);
            }
            assert_eq!(history.intents[&intent].paid_out_twice, twice);
        }
    }
}
