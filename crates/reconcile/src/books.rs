//! Compares all our books with the escrow's own events.

use std::collections::BTreeMap;

use domain::address::Address;
use domain::fate::Fate;
use domain::ids::IntentId;
use domain::settlement::IntentStatus;
use serde::Serialize;
use storage::ops::reconcile as books;
use storage::{DbClient, StorageError};

use crate::escrow_history::EscrowHistory;
use crate::intents::{ChainDifference, Sums, Totals, compare, unexplained};

/// Number of intents read at once.
const PAGE: i64 = 1000;

/// What the rows say, compared with the chain up to a block.
#[derive(Clone, Debug)]
pub struct BooksComparison {
    /// Number of intents.
    pub intents: u64,
    pub totals: Totals,
    /// Pending deposits of ours on the chain, in base units.
    pub pending_units: u128,
    pub differences: Vec<ChainDifference>,
}

/// Compares every intent with its history on chain, in one snapshot of the database. Histories of intents without a
/// row stay in `history`.
pub async fn compare_books(
    client: &mut DbClient,
    history: &mut EscrowHistory,
    horizon: u64,
) -> Result<BooksComparison, StorageError> {
    let tx = client.begin().await?;
    books::use_snapshot(&tx).await?;
    let (mut differences, mut sums, mut intents) = (Vec::new(), Sums::default(), 0_u64);
    let mut after: Vec<u8> = Vec::new();
    loop {
        let page = books::page(&tx, &after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = last.intent_id.as_bytes().to_vec();
        for line in &page {
            intents += 1;
            let on_chain = history.intents.remove(&line.intent_id);
            differences.extend(compare(line, on_chain.as_ref(), horizon, &mut sums));
        }
    }
    let others = storage::fate::totals_beside_intents(&tx).await?;
    tx.rollback().await?;
    for fate in Fate::ALL {
        sums.fates.add(fate, others.of(fate));
    }
    differences.extend(unexplained(&sums.fates));
    Ok(BooksComparison {
        intents,
        totals: Totals::from(&sums.fates),
        pending_units: sums.pending_units,
        differences,
    })
}

/// A deposit that a user made directly in the escrow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DirectDeposit {
    pub intent_id: IntentId,
    pub depositor: Address,
    pub user: Address,
    /// Base units.
    pub amount: String,
    pub block: u64,
    pub state: &'static str,
    #[serde(skip)]
    status: IntentStatus,
}

/// The deposits that no row knows.
#[derive(Clone, Debug, Default)]
pub struct UnknownDeposits {
    /// Made by users; they reclaim them after they expire.
    pub direct: Vec<DirectDeposit>,
    /// Deposits of the treasury, and pay-outs without a deposit.
    pub differences: Vec<ChainDifference>,
}

/// `depositors`: who made each deposit, by the escrow's records.
pub fn unknown_deposits(
    left: &EscrowHistory,
    depositors: &BTreeMap<IntentId, Address>,
    treasury: &Address,
) -> UnknownDeposits {
    let mut unknown = UnknownDeposits::default();
    for (id, on_chain) in &left.intents {
        let Some(deposit) = &on_chain.deposited else {
            let detail = "paid out, but its deposit was not seen";
            let difference = ChainDifference::new("event_without_deposit", id, "", detail);
            unknown.differences.push(difference);
            continue;
        };
        match depositors.get(id) {
            Some(depositor) if depositor != treasury => unknown.direct.push(DirectDeposit {
                intent_id: *id,
                depositor: *depositor,
                user: deposit.user,
                amount: deposit.amount.to_string(),
                block: deposit.block,
                state: on_chain.state(),
                status: on_chain.status(),
            }),
            _ => {
                let (amount, block) = (deposit.amount.in_shillings(), deposit.block);
                let detail = format!("the treasury deposited {amount} in block {block}");
                let difference = ChainDifference::new("deposit_without_intent", id, &deposit.tx_ref, &detail);
                unknown.differences.push(difference);
            }
        }
    }
    unknown
}

/// Compares the escrow's own total of pending deposits with its events, in base units.
pub fn pending_total_difference(
    reported: u128,
    ours: u128,
    direct: &[DirectDeposit],
) -> Option<ChainDifference> {
    let theirs: u128 = direct
        .iter()
        .filter(|d| d.status == IntentStatus::Pending)
        .filter_map(|d| d.amount.parse::<u128>().ok())
        .sum();
    if reported == ours.saturating_add(theirs) {
        return None;
    }
    let detail =
        format!("the escrow says {reported} base units are pending, its events say {ours} + {theirs} direct");
    Some(ChainDifference::total("pending_total", &detail))
}

#[cfg(test)]
mod tests {
    use domain::money::Shillings;

    use super::*;
    use crate::escrow_history::Deposit;

    const TREASURY: &str = "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65";
    const USER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

    fn intent(number: u8) -> IntentId {
        IntentId::from_bytes([number; 32])
    }

    /// Deposits of 150 KES by a user and by the treasury, one whose record is gone, and a mint without a deposit.
    fn left() -> EscrowHistory {
        let mut history = EscrowHistory::default();
        let amount = Shillings::new(150).to_base_units();
        for number in 1..=3 {
            let deposit = Deposit {
                block: 9,
                user: USER.parse().unwrap(),
                amount,
                tx_ref: "T-1".into(),
            };
            history.record_deposit(intent(number), deposit);
        }
        history.record_mint(intent(4), 10, amount);
        history
    }

    #[test]
    fn only_a_deposit_that_somebody_else_made_is_left_to_him() {
        let depositors = [(1, USER), (2, TREASURY)];
        let depositors = depositors.map(|(number, who)| (intent(number), who.parse().unwrap()));
        let treasury = TREASURY.parse().unwrap();
        let unknown = unknown_deposits(&left(), &depositors.into(), &treasury);
        assert_eq!(unknown.direct.len(), 1);
        assert_eq!(
            (unknown.direct[0].intent_id, unknown.direct[0].state),
            (intent(1), "pending")
        );
        let kinds: Vec<_> = unknown.differences.iter().map(|d| d.kind).collect();
        assert_eq!(
            kinds,
            [
                "deposit_without_intent",
                "deposit_without_intent",
                "event_without_deposit"
            ]
        );
        assert_eq!(
            unknown.differences[0].detail,
            "the treasury deposited 150 KES in block 9"
        );
    }

    #[test]
    fn the_escrows_total_is_ours_and_what_users_deposited_directly() {
        let depositors = [(intent(1), USER.parse().unwrap())];
        let direct = unknown_deposits(&left(), &depositors.into(), &TREASURY.parse().unwrap()).direct;
        let theirs = Shillings::new(150).to_base_units().get();
        assert_eq!(pending_total_difference(theirs + 5, 5, &direct), None);
        for wrong in [theirs + 4, theirs + 6, 5] {
            let found = pending_total_difference(wrong, 5, &direct);
            assert_eq!(found.map(|d| d.kind), Some("pending_total"), "{wrong}");
        }
    }
}
