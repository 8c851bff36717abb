//! Amounts as integers in newtypes: base units on chain, whole shillings at M-Pesa.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Base units of one Kenyan shilling: 10^18 (18 decimals, docs/PROTOCOL.md).
pub const BASE_UNITS_PER_SHILLING: u128 = 1_000_000_000_000_000_000;

/// An amount in base units (18 decimals). 2^128 base units are 3.4 * 10^20 shillings, above every limit of the policy.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct BaseUnits(u128);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountError {
    #[error("an amount is a string of decimal digits without sign, leading zero or separator")]
    Malformed,
    #[error("the amount does not fit")]
    TooLarge,
    #[error("the amount is not a whole number of shillings")]
    NotWhole,
}

impl BaseUnits {
    pub const ZERO: Self = Self(0);

    pub const fn new(value: u128) -> Self {
        Self(value)
    }

    pub const fn get(self) -> u128 {
        self.0
    }

    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The amount as a 32-byte big-endian ABI word.
    pub fn to_word(self) -> [u8; 32] {
        let mut word = [0; 32];
        word[16..].copy_from_slice(&self.0.to_be_bytes());
        word
    }

    /// Whole shillings, or `NotWhole` where base units would be lost.
    pub fn to_shillings(self) -> Result<Shillings, AmountError> {
        if !self.0.is_multiple_of(BASE_UNITS_PER_SHILLING) {
            return Err(AmountError::NotWhole);
        }
        u64::try_from(self.0 / BASE_UNITS_PER_SHILLING)
            .map(Shillings)
            .map_err(|_| AmountError::TooLarge)
    }
}

impl FromStr for BaseUnits {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        digits(text)?.parse().map(Self).map_err(|_| AmountError::TooLarge)
    }
}

fn digits(text: &str) -> Result<&str, AmountError> {
    let canonical = text == "0" || !text.starts_with('0');
    let all_digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if canonical && all_digits {
        Ok(text)
    } else {
        Err(AmountError::Malformed)
    }
}

impl BaseUnits {
    /// The amount for people, in shillings, with decimals only if there are any.
    pub fn in_shillings(self) -> String {
        let (whole, rest) = (self.0 / BASE_UNITS_PER_SHILLING, self.0 % BASE_UNITS_PER_SHILLING);
        if rest == 0 {
            return format!("{whole} KES");
        }
        let digits = format!("{rest:018}");
        format!("{whole}.{} KES", digits.trim_end_matches('0'))
    }
}

impl fmt::Display for BaseUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for BaseUnits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for BaseUnits {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Accepts strings only: a JSON number may have lost digits in another parser.
impl<'de> Deserialize<'de> for BaseUnits {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Whole Kenyan shillings, as M-Pesa counts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Shillings(u64);

impl Shillings {
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    /// 1 KES = 10^18 base units (docs/PROTOCOL.md). Cannot overflow: 2^64 * 10^18 < 2^128.
    pub fn to_base_units(self) -> BaseUnits {
        BaseUnits(u128::from(self.0) * BASE_UNITS_PER_SHILLING)
    }
}

impl fmt::Display for Shillings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A string of whole shillings; M-Pesa writes some of them with `.00` (docs/PROTOCOL.md).
impl FromStr for Shillings {
    type Err = AmountError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let whole = match text.split_once('.') {
            None => text,
            Some((whole, cents))
                if !cents.is_empty() && cents.bytes().all(|b| b == b'0') && cents.len() <= 2 =>
            {
                whole
            }
            Some((_, cents)) if cents.bytes().all(|b| b.is_ascii_digit()) && !cents.is_empty() => {
                return Err(AmountError::NotWhole);
            }
            Some(_) => return Err(AmountError::Malformed),
        };
        digits(whole)?
            .parse()
            .map(Self)
            .map_err(|_| AmountError::TooLarge)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_an_amount_in_shillings_with_as_many_decimals_as_it_has() {
        for (units, text) in [
            (0, "0 KES"),
            (150 * BASE_UNITS_PER_SHILLING, "150 KES"),
            (150 * BASE_UNITS_PER_SHILLING + 1, "150.000000000000000001 KES"),
            (1_500_000_000_000_000_000, "1.5 KES"),
        ] {
            assert_eq!(BaseUnits::new(units).in_shillings(), text);
        }
    }

    use proptest::prelude::*;

    #[test]
    fn amounts_are_canonical_decimal_strings() {
        assert_eq!(
            "150000000000000000000".parse(),
            Ok(BaseUnits::new(150 * BASE_UNITS_PER_SHILLING))
        );
        for bad in ["", "-1", "+1", "1.0", "01", "1e18", " 1", "0x1", "١"] {
            assert_eq!(bad.parse::<BaseUnits>(), Err(AmountError::Malformed), "{bad}");
        }
        assert_eq!("9".repeat(40).parse::<BaseUnits>(), Err(AmountError::TooLarge));
    }

    #[test]
    fn sums_and_differences_of_amounts_are_exact_or_none() {
        let [two, three, max] = [2, 3, u128::MAX].map(BaseUnits::new);
        assert_eq!(three.checked_add(two).map(BaseUnits::get), Some(5));
        assert_eq!(three.checked_sub(two).map(BaseUnits::get), Some(1));
        assert_eq!(two.checked_sub(two), Some(BaseUnits::ZERO));
        assert_eq!(two.checked_sub(three), None);
        assert_eq!(max.checked_add(BaseUnits::ZERO), Some(max));
        assert_eq!(max.checked_add(BaseUnits::new(1)), None);
    }

    #[test]
    fn numbers_are_not_amounts() {
        assert!(serde_json::from_str::<BaseUnits>("150").is_err());
        assert!(serde_json::from_str::<BaseUnits>("\"150\"").is_ok());
    }

    #[test]
    fn shillings_accept_two_zero_cents_and_nothing_else() {
        assert_eq!("150".parse(), Ok(Shillings(150)));
        assert_eq!("150.00".parse().map(Shillings::get), Ok(150));
        assert_eq!("150.50".parse::<Shillings>(), Err(AmountError::NotWhole));
        for bad in ["150.", ".00", "150.0x", "1,000", "0150", "-150"] {
            assert_eq!(bad.parse::<Shillings>(), Err(AmountError::Malformed), "{bad}");
        }
    }

    #[test]
    fn a_fraction_of_a_shilling_is_not_whole() {
        assert_eq!(
            BaseUnits::new(BASE_UNITS_PER_SHILLING + 1).to_shillings(),
            Err(AmountError::NotWhole)
        );
    }

    proptest! {
        #[test]
        fn shillings_survive_the_way_to_base_units_and_back(n in any::<u64>()) {
            prop_assert_eq!(Shillings(n).to_base_units().to_shillings().unwrap(), Shillings(n));
        }

        #[test]
        fn parsing_is_the_inverse_of_printing(n in any::<u128>()) {
            prop_assert_eq!(BaseUnits(n).to_string().parse::<BaseUnits>().unwrap(), BaseUnits(n));
        }

        #[test]
        fn no_input_panics(text in ".{0,60}") {
            let _ = (text.parse::<BaseUnits>(), text.parse::<Shillings>());
        }
    }
}
