//! 32-byte hashes of two kinds that must not be mixed up.

use std::fmt;
use std::str::FromStr;

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a hash is 0x followed by 64 hexadecimal digits")]
pub struct HashError;

macro_rules! hash {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            pub const fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Reads a database `bytea`.
            pub fn from_slice(bytes: &[u8]) -> Result<Self, HashError> {
                bytes.try_into().map(Self).map_err(|_| HashError)
            }

            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "0x{}", hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = HashError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                let mut bytes = [0; 32];
                let digits = text.strip_prefix("0x").ok_or(HashError)?;
                hex::decode_to_slice(digits, &mut bytes).map_err(|_| HashError)?;
                Ok(Self(bytes))
            }
        }
    };
}

hash!(
    /// Hash of a signed transaction: keccak256 of its raw bytes.
    TxHash
);
hash!(
    /// Hash of a block.
    BlockHash
);
