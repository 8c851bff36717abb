//! Identifiers. An intent's id commits to every field of the intent.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha3::{Digest, Keccak256};
use uuid::Uuid;

use crate::address::Address;
use crate::country::CountryCode;
use crate::money::BaseUnits;
use crate::text_type::text_type;
use crate::tx_ref::TxRef;

/// 32-byte id of a mint intent, known before anything is sent (docs/PROTOCOL.md).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IntentId([u8; 32]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an intent id is 0x followed by 64 lower-case hexadecimal digits")]
pub struct IntentIdError;

/// Everything an intent id commits to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Preimage {
    pub chain_id: u64,
    pub escrow: Address,
    pub depositor: Address,
    pub user: Address,
    pub amount: BaseUnits,
    pub country_code: CountryCode,
    pub tx_ref: TxRef,
}

impl Preimage {
    /// `keccak256(abi.encode(chainId, escrow, depositor, user, amount, countryCode, txRef))`: seven 32-byte words.
    pub fn intent_id(&self) -> IntentId {
        let mut chain_word = [0; 32];
        chain_word[24..].copy_from_slice(&self.chain_id.to_be_bytes());
        let mut hasher = Keccak256::new();
        hasher.update(chain_word);
        hasher.update(self.escrow.to_word());
        hasher.update(self.depositor.to_word());
        hasher.update(self.user.to_word());
        hasher.update(self.amount.to_word());
        hasher.update(self.country_code.to_word());
        hasher.update(self.tx_ref.to_word());
        IntentId(hasher.finalize().into())
    }
}

impl IntentId {
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Reads a database `bytea`.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, IntentIdError> {
        bytes.try_into().map(Self).map_err(|_| IntentIdError)
    }
}

impl FromStr for IntentId {
    type Err = IntentIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("0x").ok_or(IntentIdError)?;
        if digits.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(IntentIdError);
        }
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| IntentIdError)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for IntentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for IntentId {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for IntentId {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Id of one message. A retry keeps it; a re-drive or a replay is a new message (docs/QUEUES.md).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(pub Uuid);

/// Id of one stored M-Pesa report.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ReportId(pub Uuid);

macro_rules! uuid_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}
uuid_text!(MessageId);
uuid_text!(ReportId);

text_type!(
    /// The client of the API that owns keys, intents and txRef prefixes. 1..64 of `[a-z0-9-]`.
    IntegratorId,
    IntegratorIdError,
    1..=64,
    |b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-',
    "an integrator name is 1 to 64 characters of a-z 0-9 -"
);

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn known_preimage() -> Preimage {
        Preimage {
            chain_id: 31430,
            escrow: "0x5FbDB2315678afecb367f032d93F642f64180aa3".parse().unwrap(),
            depositor: "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65".parse().unwrap(),
            user: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse().unwrap(),
            amount: "150000000000000000000".parse().unwrap(),
            country_code: CountryCode::KES,
            tx_ref: "TX0000000001".parse().unwrap(),
        }
    }

    #[test]
    fn intent_id_known_answer() {
        assert_eq!(
            known_preimage().intent_id().to_string(),
            "0xea77772f8ee613a38310be6efdfaabab62ccddfd822ba2739a82686d36d776cb"
        );
    }

    #[test]
    fn every_field_changes_the_id() {
        let base = known_preimage();
        let other: Address = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC".parse().unwrap();
        let variants = [
            Preimage {
                chain_id: 1,
                ..base.clone()
            },
            Preimage {
                escrow: other,
                ..base.clone()
            },
            Preimage {
                depositor: other,
                ..base.clone()
            },
            Preimage {
                user: other,
                ..base.clone()
            },
            Preimage {
                amount: BaseUnits::new(1),
                ..base.clone()
            },
            Preimage {
                country_code: "TZS".parse().unwrap(),
                ..base.clone()
            },
            Preimage {
                tx_ref: "TX0000000002".parse().unwrap(),
                ..base.clone()
            },
        ];
        for variant in variants {
            assert_ne!(variant.intent_id(), base.intent_id(), "{variant:?}");
        }
    }
}
