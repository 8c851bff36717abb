//! The payer's telephone number: personal data, so it prints masked.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// 7 to 15 digits (E.164 without `+`). `Display` and `Debug` show the last three digits only.
#[derive(Clone, PartialEq, Eq)]
pub struct Phone(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a phone number is 7 to 15 digits in international form without +, e.g. 254708374149")]
pub struct PhoneError;

impl FromStr for Phone {
    type Err = PhoneError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (7..=15).contains(&text.len()) && !text.starts_with('0');
        if fits && text.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(PhoneError)
        }
    }
}

impl fmt::Display for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hidden = self.0.len() - 3;
        write!(f, "{}{}", "*".repeat(hidden), &self.0[hidden..])
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'de> Deserialize<'de> for Phone {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_phone_prints_masked() {
        let phone: Phone = "254708374149".parse().unwrap();
        assert_eq!(phone.to_string(), "*********149");
        assert_eq!(format!("{phone:?}"), "*********149");
    }

    #[test]
    fn a_phone_has_digits_only() {
        for bad in [
            "",
            "123456",
            "+254708374149",
            "0708374149",
            "25470837414x",
            "1234567890123456",
        ] {
            assert_eq!(bad.parse::<Phone>(), Err(PhoneError), "{bad}");
        }
    }
}
