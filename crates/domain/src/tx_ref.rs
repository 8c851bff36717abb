//! The payment reference that ties an intent to M-Pesa (docs/PROTOCOL.md).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// 1..31 bytes of `[A-Za-z0-9._:/-]`; on chain a `bytes32`, right-padded with zeros.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxRef(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a txRef is 1 to 31 characters of A-Z a-z 0-9 . _ : / -")]
pub struct TxRefError;

impl TxRef {
    pub const MAX_BYTES: usize = 31;

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The on-chain form: right-padded with zeros.
    pub fn to_word(&self) -> [u8; 32] {
        let mut word = [0; 32];
        word[..self.0.len()].copy_from_slice(self.0.as_bytes());
        word
    }

    /// Reads the on-chain form back; anything that we would not have written is refused.
    pub fn from_word(word: &[u8; 32]) -> Result<Self, TxRefError> {
        let end = word.iter().position(|b| *b == 0).ok_or(TxRefError)?;
        if word[end..].iter().any(|b| *b != 0) {
            return Err(TxRefError);
        }
        std::str::from_utf8(&word[..end]).map_err(|_| TxRefError)?.parse()
    }
}

fn allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'/' | b'-')
}

impl FromStr for TxRef {
    type Err = TxRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=Self::MAX_BYTES).contains(&text.len());
        if fits && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(TxRefError)
        }
    }
}

impl fmt::Display for TxRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TxRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for TxRef {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for TxRef {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn length_and_alphabet_are_enforced() {
        assert!("TX0000000001".parse::<TxRef>().is_ok());
        assert!("a".repeat(31).parse::<TxRef>().is_ok());
        for bad in [
            String::new(),
            "a".repeat(32),
            "a b".into(),
            "a\0".into(),
            "é".into(),
            "a\n".into(),
        ] {
            assert_eq!(bad.parse::<TxRef>(), Err(TxRefError), "{bad:?}");
        }
    }

    #[test]
    fn a_word_with_bytes_after_the_padding_is_refused() {
        let mut word = "AB".parse::<TxRef>().unwrap().to_word();
        word[5] = b'C';
        assert_eq!(TxRef::from_word(&word), Err(TxRefError));
    }

    proptest! {
        #[test]
        fn the_word_reads_back(text in "[A-Za-z0-9._:/-]{1,31}") {
            let tx_ref: TxRef = text.parse().unwrap();
            prop_assert_eq!(TxRef::from_word(&tx_ref.to_word()).unwrap(), tx_ref);
        }

        #[test]
        fn no_input_panics(text in ".{0,60}", word in any::<[u8; 32]>()) {
            let _ = (text.parse::<TxRef>(), TxRef::from_word(&word));
        }
    }
}
