//! Reads the escrow's events from the chain.

use anyhow::Result;
use chain::events::EscrowEvent;
use chain::history::LogWithBlock;
use chain::{ChainClient, ChainError};
use domain::tx_ref::TxRef;
use reconcile::escrow_history::{Deposit, EscrowHistory};

/// Reads all events in ranges of at most `step` blocks. If the node refuses a range, the range is halved.
pub async fn read(chain: &ChainClient, from: u64, to: u64, step: u64) -> Result<EscrowHistory> {
    let mut seen = EscrowHistory::default();
    let (mut next, mut step) = (from, step.max(1));
    while next <= to {
        let last = next.saturating_add(step - 1).min(to);
        match chain.escrow_logs_between(next, last).await {
            Ok(logs) => {
                for log in &logs {
                    record(&mut seen, log);
                }
                next = last.saturating_add(1);
            }
            Err(ChainError::Refused { .. } | ChainError::Unavailable(_)) if step > 1 => step /= 2,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(seen)
}

fn record(history: &mut EscrowHistory, placed: &LogWithBlock) {
    let block = placed.block_number;
    history.events += 1;
    match &placed.log.event {
        EscrowEvent::Submitted {
            intent_id,
            user,
            amount,
            tx_ref,
            ..
        } => {
            let tx_ref = TxRef::from_word(tx_ref).map_or_else(|_| String::new(), |r| r.to_string());
            let deposit = Deposit {
                block,
                user: *user,
                amount: *amount,
                tx_ref,
            };
            history.record_deposit(*intent_id, deposit);
        }
        EscrowEvent::Executed {
            intent_id, amount, ..
        } => history.record_mint(*intent_id, block, *amount),
        EscrowEvent::Refunded {
            intent_id, amount, ..
        } => history.record_refund(*intent_id, block, *amount),
        EscrowEvent::Skipped { .. } | EscrowEvent::Credited { .. } | EscrowEvent::Other { .. } => {}
    }
}
