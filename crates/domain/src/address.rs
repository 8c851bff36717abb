//! EVM addresses. The EIP-55 checksum is enforced if the text uses it (mixed case).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha3::{Digest, Keccak256};

/// A 20-byte account address. Never zero: the zero address cannot own money.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address([u8; 20]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    #[error("an address is 0x followed by 40 hexadecimal digits")]
    Malformed,
    #[error("the EIP-55 checksum does not match; check the address or write it in lower case")]
    Checksum,
    #[error("the zero address cannot be used")]
    Zero,
}

impl Address {
    pub fn from_bytes(bytes: [u8; 20]) -> Result<Self, AddressError> {
        if bytes == [0; 20] {
            Err(AddressError::Zero)
        } else {
            Ok(Self(bytes))
        }
    }

    pub fn as_bytes(&self) -> &[u8; 20] {
        &self.0
    }

    /// EIP-55 mixed-case form, the only form we print.
    pub fn checksummed(&self) -> String {
        let lower = hex::encode(self.0);
        let hash = Keccak256::digest(lower.as_bytes());
        let mut out = String::with_capacity(42);
        out.push_str("0x");
        for (i, c) in lower.chars().enumerate() {
            let byte = hash[i / 2];
            let nibble = if i % 2 == 0 { byte >> 4 } else { byte & 0x0f };
            out.push(if nibble >= 8 { c.to_ascii_uppercase() } else { c });
        }
        out
    }

    /// The address as a left-padded 32-byte ABI word.
    pub fn to_word(&self) -> [u8; 32] {
        let mut word = [0; 32];
        word[12..].copy_from_slice(&self.0);
        word
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0x").ok_or(AddressError::Malformed)?;
        let mut bytes = [0; 20];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| AddressError::Malformed)?;
        let address = Self::from_bytes(bytes)?;
        let has_lower = digits.bytes().any(|b| b.is_ascii_lowercase());
        let has_upper = digits.bytes().any(|b| b.is_ascii_uppercase());
        if has_lower && has_upper && address.checksummed() != text {
            return Err(AddressError::Checksum);
        }
        Ok(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.checksummed())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Address {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Address {
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
    fn checksum_vectors_of_eip_55() {
        for text in [
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
            "0xdbF03B407c01E7cD3CBea99509d93f8DDDC8C6FB",
            "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn one_flipped_case_is_refused() {
        let err = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD".parse::<Address>();
        assert_eq!(err, Err(AddressError::Checksum));
    }

    #[test]
    fn all_lower_and_all_upper_need_no_checksum() {
        assert!(
            "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"
                .parse::<Address>()
                .is_ok()
        );
        assert!(
            "0x5AAEB6053F3E94C9B9A09F33669435E7EF1BEAED"
                .parse::<Address>()
                .is_ok()
        );
    }

    #[test]
    fn zero_and_malformed_are_refused() {
        assert_eq!(
            format!("0x{}", "0".repeat(40)).parse::<Address>(),
            Err(AddressError::Zero)
        );
        for bad in [
            "",
            "0x",
            "5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
            "0xzz",
            "0X5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
        ] {
            assert_eq!(bad.parse::<Address>(), Err(AddressError::Malformed), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn printing_then_parsing_is_the_identity(bytes in any::<[u8; 20]>()) {
            prop_assume!(bytes != [0; 20]);
            let address = Address::from_bytes(bytes).unwrap();
            prop_assert_eq!(address.as_bytes(), &bytes);
            prop_assert_eq!(address.to_string().parse::<Address>().unwrap(), address);
        }

        #[test]
        fn no_input_panics(text in ".{0,60}") {
            let _ = text.parse::<Address>();
        }
    }
}
