//! The fees of a transaction, computed from the base fee of a known block. Pure.

/// EIP-1559 fees in wei per gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fees {
    pub max_fee_per_gas: u128,
    pub max_priority_fee_per_gas: u128,
}

/// The operator's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeePolicy {
    /// The highest price per gas, priority fee included.
    pub max_fee_per_gas: u128,
    pub priority_fee_per_gas: u128,
    /// The highest cost of one transaction in wei: its gas limit times its price per gas.
    pub tx_fee_cap: u128,
}

/// geth and reth accept no transaction that may cost more (`--rpc.txfeecap`) by default: one ether, in wei.
pub const DEFAULT_TX_FEE_CAP: u128 = 1_000_000_000_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the market asks for {needed} wei per gas, the cap is {cap}")]
pub struct FeeAboveCap {
    pub needed: u128,
    pub cap: u128,
}

impl FeePolicy {
    /// Fees that outlast six full blocks (the base fee rises by at most 1/8 each), within cap and ceiling.
    pub fn market_fees(&self, base_fee: u128, gas_limit: u64) -> Result<Fees, FeeAboveCap> {
        let needed = base_fee.saturating_add(self.priority_fee_per_gas);
        let cap = self.max_fee_for(gas_limit);
        if needed > cap {
            return Err(FeeAboveCap { needed, cap });
        }
        Ok(Fees {
            max_fee_per_gas: self.suggested_max_fee(base_fee).min(cap),
            max_priority_fee_per_gas: self.priority_fee_per_gas,
        })
    }

    /// Fees with which a pool replaces `sent`: the market's, and at least 12.5 % more on both fields. No pool accepted a
    /// transaction above the transaction cap, so that one is priced anew.
    pub fn replacement_fees(&self, sent: Fees, base_fee: u128, gas_limit: u64) -> Result<Fees, FeeAboveCap> {
        if sent.max_fee_per_gas > self.max_fee_under_tx_cap(gas_limit) {
            return self.market_fees(base_fee, gas_limit);
        }
        let floor = Fees {
            max_fee_per_gas: plus_one_eighth(sent.max_fee_per_gas),
            max_priority_fee_per_gas: plus_one_eighth(sent.max_priority_fee_per_gas),
        };
        let market = self.market_fees(base_fee, gas_limit).unwrap_or(floor);
        let wanted = Fees {
            max_fee_per_gas: market.max_fee_per_gas.max(floor.max_fee_per_gas),
            max_priority_fee_per_gas: market
                .max_priority_fee_per_gas
                .max(floor.max_priority_fee_per_gas),
        };
        let cap = self.max_fee_for(gas_limit);
        if wanted.max_fee_per_gas > cap {
            return Err(FeeAboveCap {
                needed: wanted.max_fee_per_gas,
                cap,
            });
        }
        Ok(wanted)
    }

    /// The largest gas limit of a new transaction whose price can still double below the transaction cap.
    pub fn max_gas(&self, base_fee: u128) -> u64 {
        let doubled = self
            .suggested_max_fee(base_fee)
            .saturating_mul(2)
            .min(self.max_fee_per_gas);
        u64::try_from(self.tx_fee_cap / doubled.max(1)).unwrap_or(u64::MAX)
    }

    fn suggested_max_fee(&self, base_fee: u128) -> u128 {
        base_fee
            .saturating_mul(2)
            .saturating_add(self.priority_fee_per_gas)
    }

    fn max_fee_for(&self, gas_limit: u64) -> u128 {
        self.max_fee_per_gas.min(self.max_fee_under_tx_cap(gas_limit))
    }

    fn max_fee_under_tx_cap(&self, gas_limit: u64) -> u128 {
        self.tx_fee_cap / u128::from(gas_limit.max(1))
    }
}

/// Rounds up, so that even 1 wei grows.
fn plus_one_eighth(wei: u128) -> u128 {
    wei.saturating_add(wei.div_ceil(8).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: FeePolicy = FeePolicy {
        max_fee_per_gas: 1000,
        priority_fee_per_gas: 10,
        tx_fee_cap: 1_000_000,
    };

    /// So little gas that the cap per gas binds before the transaction cap.
    const LIGHT: u64 = 1000;

    #[test]
    fn market_fees_stay_within_the_cap() {
        assert_eq!(
            POLICY.market_fees(100, LIGHT),
            Ok(Fees {
                max_fee_per_gas: 210,
                max_priority_fee_per_gas: 10
            })
        );
        assert_eq!(
            POLICY.market_fees(900, LIGHT),
            Ok(Fees {
                max_fee_per_gas: 1000,
                max_priority_fee_per_gas: 10
            })
        );
        assert_eq!(
            POLICY.market_fees(991, LIGHT),
            Err(FeeAboveCap {
                needed: 1001,
                cap: 1000
            })
        );
        assert_eq!(
            POLICY.market_fees(u128::MAX, LIGHT).unwrap_err().needed,
            u128::MAX
        );
    }

    #[test]
    fn a_replacement_raises_both_fees_by_an_eighth_and_never_passes_the_cap() {
        let sent = Fees {
            max_fee_per_gas: 400,
            max_priority_fee_per_gas: 10,
        };
        assert_eq!(
            POLICY.replacement_fees(sent, 100, LIGHT),
            Ok(Fees {
                max_fee_per_gas: 450,
                max_priority_fee_per_gas: 12
            })
        );
        assert_eq!(
            POLICY.replacement_fees(sent, 300, LIGHT),
            Ok(Fees {
                max_fee_per_gas: 610,
                max_priority_fee_per_gas: 12
            })
        );
        let last = Fees {
            max_fee_per_gas: 950,
            max_priority_fee_per_gas: 10,
        };
        assert!(POLICY.replacement_fees(last, 1, LIGHT).is_err());
    }

    #[test]
    fn no_transaction_costs_more_than_the_transaction_cap() {
        // Gas, base fee: the highest price, if there is one.
        let table = [
            (1000, 400, Ok(810)),
            (2000, 100, Ok(210)),
            (2000, 400, Ok(500)),
            (2000, 490, Ok(500)),
            (2000, 491, Err(500)),
            (0, 990, Ok(1000)),
            (u64::MAX, 0, Err(0)),
        ];
        for (gas, base_fee, expected) in table {
            let found = POLICY.market_fees(base_fee, gas);
            let found = found
                .map(|fees| fees.max_fee_per_gas)
                .map_err(|above_cap| above_cap.cap);
            assert_eq!(found, expected, "{gas} gas at {base_fee}");
        }
        let sent = Fees {
            max_fee_per_gas: 400,
            max_priority_fee_per_gas: 10,
        };
        let replaced = |gas, base_fee| {
            POLICY
                .replacement_fees(sent, base_fee, gas)
                .map(|fees| fees.max_fee_per_gas)
        };
        assert_eq!(replaced(2000, 400), Ok(500), "up to the ceiling");
        assert!(replaced(2400, 100).is_err(), "416 is no eighth more");
    }

    #[test]
    fn a_transaction_above_the_transaction_cap_is_priced_anew_below_it() {
        let sent = Fees {
            max_fee_per_gas: 600,
            max_priority_fee_per_gas: 10,
        };
        assert_eq!(
            POLICY.replacement_fees(sent, 200, 2000),
            Ok(Fees {
                max_fee_per_gas: 410,
                max_priority_fee_per_gas: 10
            })
        );
        assert!(POLICY.replacement_fees(sent, 491, 2000).is_err());
        let at_the_cap = Fees {
            max_fee_per_gas: 500,
            ..sent
        };
        assert_eq!(
            POLICY.replacement_fees(at_the_cap, 200, 2000),
            Err(FeeAboveCap {
                needed: 563,
                cap: 500
            }),
            "a pool may hold that one, so it must be outbid"
        );
    }

    #[test]
    fn a_new_transaction_leaves_room_to_double_its_fee_up_to_the_cap() {
        for (base_fee, expected) in [(0, 50_000), (45, 5000), (495, 1000), (u128::MAX, 1000)] {
            assert_eq!(POLICY.max_gas(base_fee), expected, "{base_fee}");
        }
        let bare = FeePolicy {
            priority_fee_per_gas: 0,
            tx_fee_cap: u128::MAX,
            ..POLICY
        };
        assert_eq!(bare.max_gas(0), u64::MAX);
    }
}
