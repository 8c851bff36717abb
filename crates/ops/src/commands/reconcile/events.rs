//! Reads the escrow's events and collects what happened to each intent.

use std::collections::BTreeMap;

use anyhow::Result;
use chain::events::EscrowEvent;
use chain::history::LogWithBlock;
use chain::query::IntentStatus;
use chain::{ChainClient, ChainError};
use domain::address::Address;
use domain::ids::IntentId;
use domain::money::BaseUnits;
use domain::tx_ref::TxRef;

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
    pub fn add(&mut self, placed: &LogWithBlock) {
        let block = placed.block_number;
        self.events += 1;
        match &placed.log.event {
            EscrowEvent::Submitted {
                intent_id,
                user,
                amount,
                tx_ref,
                ..
            } => {
                let tx_ref = TxRef::from_word(tx_ref).map_or_else(|_| String::new(), |r| r.to_string());
                let entry = self.intents.entry(*intent_id).or_default();
                entry.deposited = Some(Deposit {
                    block,
                    user: *user,
                    amount: *amount,
                    tx_ref,
                });
            }
            EscrowEvent::Executed {
                intent_id, amount, ..
            } => {
                let entry = self.intents.entry(*intent_id).or_default();
                entry.paid_out_twice |= entry.executed.is_some() || entry.refunded.is_some();
                entry.executed = Some((block, *amount));
            }
            EscrowEvent::Refunded {
                intent_id, amount, ..
            } => {
                let entry = self.intents.entry(*intent_id).or_default();
                entry.paid_out_twice |= entry.executed.is_some() || entry.refunded.is_some();
                entry.refunded = Some((block, *amount));
            }
            EscrowEvent::Skipped { .. } | EscrowEvent::Credited { .. } | EscrowEvent::Other { .. } => {}
        }
    }
}

/// Reads all events in ranges of at most `step` blocks. If the node refuses a range, the range is halved.
pub async fn read(chain: &ChainClient, from: u64, to: u64, step: u64) -> Result<EscrowHistory> {
    let mut seen = EscrowHistory::default();
    let (mut next, mut step) = (from, step.max(1));
    while next <= to {
        let last = next.saturating_add(step - 1).min(to);
        match chain.escrow_logs_between(next, last).await {
            Ok(logs) => {
                for log in &logs {
                    seen.add(log);
                }
                next = last.saturating_add(1);
            }
            Err(ChainError::Refused { .. } | ChainError::Unavailable(_)) if step > 1 => step /= 2,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(seen)
}
