//! The number of items in one transaction, and its gas limit. Pure.

use chain::fees::{FeeAboveCap, FeePolicy};
use chain::query::BlockHeader;
use domain::command::Command;

/// EIP-7825: no transaction may have more gas.
pub const TRANSACTION_GAS_CAP: u64 = 16_777_216;

/// Gas of one command in the most expensive case, with users and days that storage does not know yet, from
/// `contracts/gas.md`.
#[derive(Clone, Copy, Debug)]
struct CommandGas {
    /// Per transaction: its intrinsic cost and the first, cold accesses.
    base: u64,
    /// Per item, calldata included.
    item: u64,
    /// The contract starts an item only while its whole allowance is left, so the last item needs it in addition.
    allowance: u64,
}

const fn gas(command: Command) -> CommandGas {
    match command {
        Command::Submit => CommandGas {
            base: 70_000,
            item: 132_000,
            allowance: 312_000,
        },
        Command::Execute => CommandGas {
            base: 85_000,
            item: 52_500,
            allowance: 210_000,
        },
        Command::Refund => CommandGas {
            base: 60_000,
            item: 30_000,
            allowance: 272_000,
        },
    }
}

/// Limits of one transaction; a high fee lowers them further (`FeePolicy::max_gas`).
#[derive(Clone, Copy, Debug)]
pub struct BatchLimits {
    pub max_items: usize,
    pub max_gas: u64,
}

impl BatchLimits {
    /// Lowers the gas limit to `gas` if that is less.
    #[must_use]
    pub fn with_max_gas(self, gas: u64) -> Self {
        Self {
            max_gas: self.max_gas.min(gas),
            ..self
        }
    }
}

/// The most items that one transaction may carry at that head; an error while even one item exceeds the fee cap.
pub fn max_items_at(
    command: Command,
    limits: BatchLimits,
    fees: &FeePolicy,
    head: &BlockHeader,
) -> Result<usize, FeeAboveCap> {
    fees.market_fees(head.base_fee, gas_limit(command, 1))?;
    let limits = limits.with_max_gas(fees.max_gas(head.base_fee));
    Ok(max_items(command, limits, head.gas_limit))
}

/// The most items of a command in a block with that gas limit; at least one.
pub fn max_items(command: Command, bounds: BatchLimits, block_gas_limit: u64) -> usize {
    let gas = gas(command);
    let room = bounds.max_gas.min(TRANSACTION_GAS_CAP).min(block_gas_limit / 2);
    let by_gas = room.saturating_sub(gas.base + gas.allowance) / gas.item;
    usize::try_from(by_gas)
        .unwrap_or(usize::MAX)
        .min(bounds.max_items)
        .max(1)
}

/// The gas limit of a transaction with so many items.
pub fn gas_limit(command: Command, items: usize) -> u64 {
    let gas = gas(command);
    let items = u64::try_from(items).unwrap_or(u64::MAX);
    gas.base
        .saturating_add(gas.item.saturating_mul(items))
        .saturating_add(gas.allowance)
        .min(TRANSACTION_GAS_CAP)
}

#[cfg(test)]
mod tests {
    use chain::BlockHash;

    use super::*;

    const BOUNDS: BatchLimits = BatchLimits {
        max_items: 64,
        max_gas: u64::MAX,
    };

    #[test]
    fn a_batch_never_exceeds_any_bound() {
        for command in Command::ALL {
            for block in [30_000_000, 2_000_000, 1_000_000_000] {
                let items = max_items(command, BOUNDS, block);
                assert!((1..=64).contains(&items));
                let gas = gas_limit(command, items);
                assert!(
                    gas <= TRANSACTION_GAS_CAP && (items == 1 || gas <= block / 2),
                    "{command:?} {block}: {gas}"
                );
            }
        }
        assert_eq!(max_items(Command::Submit, BOUNDS, 30_000_000), 64);
        assert_eq!(max_items(Command::Submit, BOUNDS, 2_000_000), 4);
        assert_eq!(
            max_items(
                Command::Execute,
                BatchLimits {
                    max_gas: 500_000,
                    ..BOUNDS
                },
                30_000_000
            ),
            3
        );
        assert_eq!(max_items(Command::Refund, BOUNDS, 1), 1);
    }

    #[test]
    fn a_gas_limit_covers_every_item_and_the_allowance_up_to_the_protocols_cap() {
        let table = [
            (Command::Submit, 1, 514_000),
            (Command::Submit, 64, 8_830_000),
            (Command::Execute, 10, 820_000),
            (Command::Refund, 2, 392_000),
            (Command::Refund, 1000, 16_777_216),
            (Command::Refund, usize::MAX, 16_777_216),
        ];
        for (command, items, expected) in table {
            assert_eq!(gas_limit(command, items), expected, "{items} of {command:?}");
        }
    }

    #[test]
    fn a_higher_base_fee_shrinks_the_batch_to_no_less_than_one_item() {
        const GWEI: u128 = 1_000_000_000;
        let fees = FeePolicy {
            max_fee_per_gas: 500 * GWEI,
            priority_fee_per_gas: GWEI,
            tx_fee_cap: chain::fees::DEFAULT_TX_FEE_CAP,
        };
        let limits = BatchLimits {
            max_items: 64,
            max_gas: 16_000_000,
        };
        // Base fee in gwei; the most deposits.
        let table = [(1, 64), (25, 64), (60, 28), (120, 12), (250, 12), (499, 12)];
        let head = |base_fee| BlockHeader {
            number: 1,
            hash: BlockHash::from_bytes([1; 32]),
            parent: BlockHash::from_bytes([0; 32]),
            timestamp: 0,
            base_fee: base_fee * GWEI,
            gas_limit: 30_000_000,
        };
        for (base_fee, expected) in table {
            let room = |command| max_items_at(command, limits, &fees, &head(base_fee));
            for command in Command::ALL {
                let items = room(command).expect("one fits");
                let gas = gas_limit(command, items);
                let price = fees
                    .market_fees(base_fee * GWEI, gas)
                    .map(|fees| fees.max_fee_per_gas);
                assert!(
                    price.is_ok_and(|price| price * u128::from(gas) <= fees.tx_fee_cap),
                    "{command:?} at {base_fee}: {items} items, {price:?}"
                );
            }
            assert_eq!(room(Command::Submit), Ok(expected), "at {base_fee} gwei");
        }
        assert!(max_items_at(Command::Submit, limits, &fees, &head(500)).is_err());
        assert_eq!(max_items(Command::Submit, BOUNDS.with_max_gas(0), 30_000_000), 1);
    }
}
