//! The fees of a transaction, computed from the base fee of a known block. Pure.

/// EIP-1559 fees in wei per gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fees {
    pub max: u128,
    pub priority: u128,
}

/// The operator's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeePolicy {
    /// The highest price per gas, priority fee included.
    pub cap: u128,
    pub priority: u128,
    /// The highest cost of one transaction in wei: its gas limit times its price per gas.
    pub ceiling: u128,
}

/// geth and reth accept no transaction that may cost more (`--rpc.txfeecap`) by default: one ether, in wei.
pub const USUAL_CEILING: u128 = 1_000_000_000_000_000_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the market asks for {needed} wei per gas, the cap is {cap}")]
pub struct TooDear {
    pub needed: u128,
    pub cap: u128,
}

impl FeePolicy {
    /// Fees that outlast six full blocks (the base fee rises by at most 1/8 each), within cap and ceiling.
    pub fn market(&self, base_fee: u128, gas_limit: u64) -> Result<Fees, TooDear> {
        let needed = base_fee.saturating_add(self.priority);
        let cap = self.cap_at(gas_limit);
        if needed > cap {
            return Err(TooDear { needed, cap });
        }
        Ok(Fees {
            max: self.comfortable(base_fee).min(cap),
            priority: self.priority,
        })
    }

    /// Fees with which a pool replaces `sent`: the market's, and at least 12.5 % more on both fields. No pool accepted a
    /// transaction above the transaction cap, so that one is priced anew.
    pub fn replacement(&self, sent: Fees, base_fee: u128, gas_limit: u64) -> Result<Fees, TooDear> {
        if sent.max > self.ceiling_at(gas_limit) {
            return self.market(base_fee, gas_limit);
        }
        let floor = Fees {
            max: an_eighth_more(sent.max),
            priority: an_eighth_more(sent.priority),
        };
        let market = self.market(base_fee, gas_limit).unwrap_or(floor);
        let wanted = Fees {
            max: market.max.max(floor.max),
            priority: market.priority.max(floor.priority),
        };
        let cap = self.cap_at(gas_limit);
        if wanted.max > cap {
            return Err(TooDear {
                needed: wanted.max,
                cap,
            });
        }
        Ok(wanted)
    }

    /// The largest gas limit of a new transaction whose price can still double below the transaction cap.
    pub fn gas_room(&self, base_fee: u128) -> u64 {
        let dearer = self.comfortable(base_fee).saturating_mul(2).min(self.cap);
        u64::try_from(self.ceiling / dearer.max(1)).unwrap_or(u64::MAX)
    }

    fn comfortable(&self, base_fee: u128) -> u128 {
        base_fee.saturating_mul(2).saturating_add(self.priority)
    }

    fn cap_at(&self, gas_limit: u64) -> u128 {
        self.cap.min(self.ceiling_at(gas_limit))
    }

    fn ceiling_at(&self, gas_limit: u64) -> u128 {
        self.ceiling / u128::from(gas_limit.max(1))
    }
}

/// Rounds up, so that even 1 wei grows.
fn an_eighth_more(wei: u128) -> u128 {
    wei.saturating_add(wei.div_ceil(8).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: FeePolicy = FeePolicy {
        cap: 1000,
        priority: 10,
        ceiling: 1_000_000,
    };

    /// So little gas that the cap per gas binds before the transaction cap.
    const LIGHT: u64 = 1000;

    #[test]
    fn market_fees_stay_within_the_cap() {
        assert_eq!(
            POLICY.market(100, LIGHT),
            Ok(Fees {
                max: 210,
                priority: 10
            })
        );
        assert_eq!(
            POLICY.market(900, LIGHT),
            Ok(Fees {
                max: 1000,
                priority: 10
            })
        );
        assert_eq!(
            POLICY.market(991, LIGHT),
            Err(TooDear {
                needed: 1001,
                cap: 1000
            })
        );
        assert_eq!(POLICY.market(u128::MAX, LIGHT).unwrap_err().needed, u128::MAX);
    }

    #[test]
    fn a_replacement_raises_both_fees_by_an_eighth_and_never_passes_the_cap() {
        let sent = Fees {
            max: 400,
            priority: 10,
        };
        assert_eq!(
            POLICY.replacement(sent, 100, LIGHT),
            Ok(Fees {
                max: 450,
                priority: 12
            })
        );
        assert_eq!(
            POLICY.replacement(sent, 300, LIGHT),
            Ok(Fees {
                max: 610,
                priority: 12
            })
        );
        let last = Fees {
            max: 950,
            priority: 10,
        };
        assert!(POLICY.replacement(last, 1, LIGHT).is_err());
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
            let found = POLICY.market(base_fee, gas);
            let found = found.map(|fees| fees.max).map_err(|too_dear| too_dear.cap);
            assert_eq!(found, expected, "{gas} gas at {base_fee}");
        }
        let sent = Fees {
            max: 400,
            priority: 10,
        };
        let replaced = |gas, base_fee| POLICY.replacement(sent, base_fee, gas).map(|fees| fees.max);
        assert_eq!(replaced(2000, 400), Ok(500), "up to the ceiling");
        assert!(replaced(2400, 100).is_err(), "416 is no eighth more");
    }

    #[test]
    fn a_transaction_above_the_transaction_cap_is_priced_anew_below_it() {
        let sent = Fees {
            max: 600,
            priority: 10,
        };
        assert_eq!(
            POLICY.replacement(sent, 200, 2000),
            Ok(Fees {
                max: 410,
                priority: 10
            })
        );
        assert!(POLICY.replacement(sent, 491, 2000).is_err());
    }

    #[test]
    fn a_new_transaction_leaves_room_to_double_its_fee_up_to_the_cap() {
        for (base_fee, expected) in [(0, 50_000), (45, 5000), (495, 1000), (u128::MAX, 1000)] {
            assert_eq!(POLICY.gas_room(base_fee), expected, "{base_fee}");
        }
        let bare = FeePolicy {
            priority: 0,
            ceiling: u128::MAX,
            ..POLICY
        };
        assert_eq!(bare.gas_room(0), u64::MAX);
    }
}
