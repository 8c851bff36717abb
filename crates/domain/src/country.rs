//! ISO 4217 code of the country token, as text and as a `bytes32`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Three upper-case ASCII letters, e.g. `KES`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CountryCode([u8; 3]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a country code is three upper-case letters, e.g. KES")]
pub struct CountryCodeError;

impl CountryCode {
    /// Kenya, the only country of the first policy.
    pub const KES: Self = Self(*b"KES");

    pub fn as_str(&self) -> &str {
        // Only upper-case ASCII letters can be in there, so the fallback is never taken.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    /// The on-chain form: right-padded with zeros.
    pub fn to_word(&self) -> [u8; 32] {
        let mut word = [0; 32];
        word[..3].copy_from_slice(&self.0);
        word
    }

    /// Reads the on-chain form back.
    pub fn from_word(word: &[u8; 32]) -> Result<Self, CountryCodeError> {
        if word[3..].iter().any(|b| *b != 0) {
            return Err(CountryCodeError);
        }
        std::str::from_utf8(&word[..3])
            .map_err(|_| CountryCodeError)?
            .parse()
    }
}

impl FromStr for CountryCode {
    type Err = CountryCodeError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bytes: [u8; 3] = text.as_bytes().try_into().map_err(|_| CountryCodeError)?;
        if bytes.iter().all(u8::is_ascii_uppercase) {
            Ok(Self(bytes))
        } else {
            Err(CountryCodeError)
        }
    }
}

impl fmt::Display for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CountryCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for CountryCode {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for CountryCode {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_upper_case_letters_only() {
        assert_eq!("KES".parse(), Ok(CountryCode::KES));
        assert_eq!(CountryCode::KES.as_str(), "KES");
        for bad in ["", "kes", "KE", "KESX", "K S", "KÉ"] {
            assert_eq!(bad.parse::<CountryCode>(), Err(CountryCodeError), "{bad}");
        }
        assert_eq!(
            CountryCode::from_word(&CountryCode::KES.to_word()),
            Ok(CountryCode::KES)
        );
    }
}
