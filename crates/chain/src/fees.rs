//! What we are ready to pay, from the base fee of a block we already hold. Pure.

/// EIP-1559 fees in wei per gas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fees {
    pub max: u128,
    pub priority: u128,
}

/// What the operator allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeePolicy {
    /// Most we pay per gas, all included.
    pub cap: u128,
    pub priority: u128,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the market asks for {needed} wei per gas, the cap is {cap}")]
pub struct TooDear {
    pub needed: u128,
    pub cap: u128,
}

impl FeePolicy {
    /// Fees that outlast six full blocks (the base fee rises by at most 1/8 each), within the cap.
    pub fn market(&self, base_fee: u128) -> Result<Fees, TooDear> {
        let needed = base_fee.saturating_add(self.priority);
        if needed > self.cap {
            return Err(TooDear {
                needed,
                cap: self.cap,
            });
        }
        let comfortable = base_fee.saturating_mul(2).saturating_add(self.priority);
        Ok(Fees {
            max: comfortable.min(self.cap),
            priority: self.priority,
        })
    }

    /// Fees a pool accepts in place of `sent`: the market's, and at least 12.5 % more on both fields.
    pub fn replacement(&self, sent: Fees, base_fee: u128) -> Result<Fees, TooDear> {
        let floor = Fees {
            max: an_eighth_more(sent.max),
            priority: an_eighth_more(sent.priority),
        };
        let market = self.market(base_fee).unwrap_or(floor);
        let wanted = Fees {
            max: market.max.max(floor.max),
            priority: market.priority.max(floor.priority),
        };
        if wanted.max > self.cap {
            return Err(TooDear {
                needed: wanted.max,
                cap: self.cap,
            });
        }
        Ok(wanted)
    }
}

/// Rounded up, so that even 1 wei grows.
fn an_eighth_more(wei: u128) -> u128 {
    wei.saturating_add(wei.div_ceil(8).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: FeePolicy = FeePolicy {
        cap: 1000,
        priority: 10,
    };

    #[test]
    fn the_market_within_the_cap() {
        assert_eq!(
            POLICY.market(100),
            Ok(Fees {
                max: 210,
                priority: 10
            })
        );
        assert_eq!(
            POLICY.market(900),
            Ok(Fees {
                max: 1000,
                priority: 10
            })
        );
        assert_eq!(
            POLICY.market(991),
            Err(TooDear {
                needed: 1001,
                cap: 1000
            })
        );
        assert_eq!(POLICY.market(u128::MAX).unwrap_err().needed, u128::MAX);
    }

    #[test]
    fn a_replacement_is_an_eighth_dearer_on_both_fields_and_never_past_the_cap() {
        let sent = Fees {
            max: 400,
            priority: 10,
        };
        assert_eq!(
            POLICY.replacement(sent, 100),
            Ok(Fees {
                max: 450,
                priority: 12
            })
        );
        assert_eq!(
            POLICY.replacement(sent, 300),
            Ok(Fees {
                max: 610,
                priority: 12
            })
        );
        let last = Fees {
            max: 950,
            priority: 10,
        };
        assert!(POLICY.replacement(last, 1).is_err());
    }
}
