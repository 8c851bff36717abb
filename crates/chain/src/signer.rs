//! The signers. A key never leaves its signer and is never printed.

pub mod pkcs11;

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use domain::address::Address;
use ethers::signers::{LocalWallet, Signer as _};
use ethers::types::{H256, Signature};
use secrecy::{ExposeSecret, SecretString};
use zeroize::Zeroizing;

use crate::convert::from_h160;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignerError {
    #[error("the signing key is not 64 hexadecimal digits of a valid secp256k1 key")]
    InvalidKey,
    #[error("the signer is unavailable: {0}")]
    Unavailable(String),
    #[error("the key is unfit: {0}")]
    Unusable(String),
}

/// A secp256k1 signature with its recovery bit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RawSignature {
    pub r: [u8; 32],
    pub s: [u8; 32],
    pub odd_y: bool,
}

/// One signing key: in memory here, in an HSM elsewhere.
#[async_trait]
pub trait Signer: Send + Sync + fmt::Debug {
    fn address(&self) -> Address;

    /// Signs a 32-byte digest.
    async fn sign(&self, digest: [u8; 32]) -> Result<RawSignature, SignerError>;
}

/// A key held in memory, wiped when dropped.
pub struct LocalKey {
    wallet: LocalWallet,
    address: Address,
}

impl LocalKey {
    /// Reads 64 hexadecimal digits, `0x` and surrounding white space allowed.
    pub fn from_hex(text: &SecretString) -> Result<Self, SignerError> {
        let digits = text.expose_secret().trim();
        let digits = digits.strip_prefix("0x").unwrap_or(digits);
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(digits, bytes.as_mut()).map_err(|_| SignerError::InvalidKey)?;
        let wallet = LocalWallet::from_bytes(bytes.as_ref()).map_err(|_| SignerError::InvalidKey)?;
        let address = from_h160(wallet.address()).ok_or(SignerError::InvalidKey)?;
        Ok(Self { wallet, address })
    }
}

impl FromStr for LocalKey {
    type Err = SignerError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::from_hex(&text.into())
    }
}

impl fmt::Debug for LocalKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalKey({})", self.address)
    }
}

#[async_trait]
impl Signer for LocalKey {
    fn address(&self) -> Address {
        self.address
    }

    async fn sign(&self, digest: [u8; 32]) -> Result<RawSignature, SignerError> {
        let signature = self
            .wallet
            .sign_hash(H256(digest))
            .map_err(|e| SignerError::Unavailable(e.to_string()))?;
        Ok(RawSignature::from_ethers(&signature))
    }
}

impl RawSignature {
    fn from_ethers(signature: &Signature) -> Self {
        let (mut r, mut s) = ([0; 32], [0; 32]);
        signature.r.to_big_endian(&mut r);
        signature.s.to_big_endian(&mut s);
        Self {
            r,
            s,
            odd_y: signature.v == 28 || signature.v == 1,
        }
    }

    pub(crate) fn to_ethers(self) -> Signature {
        Signature {
            r: self.r.into(),
            s: self.s.into(),
            v: u64::from(self.odd_y),
        }
    }
}

impl fmt::Debug for RawSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RawSignature")
    }
}

/// A public test vector.
#[cfg(test)]
const TEST_KEY: &str = "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d";

#[cfg(test)]
pub(crate) fn test_key() -> LocalKey {
    TEST_KEY.parse().unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_follows_from_the_key_and_the_key_is_not_printed() {
        let key = test_key();
        assert_eq!(
            key.address().to_string(),
            "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
        );
        assert_eq!(
            format!("{key:?}"),
            "LocalKey(0x70997970C51812dc3A010C7d01b50e0d17dc79C8)"
        );
        assert!(format!("\n{}\n", &TEST_KEY[2..]).parse::<LocalKey>().is_ok());
    }

    #[test]
    fn bad_keys_are_refused_without_repeating_them() {
        for bad in ["", "0x", &"0".repeat(64), &"f".repeat(64), "nonsense"] {
            let error = bad.parse::<LocalKey>().unwrap_err();
            assert!(
                bad.is_empty() || bad == "0x" || !error.to_string().contains(bad),
                "{error}"
            );
        }
    }
}
