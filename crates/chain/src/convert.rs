//! Conversions between ethers' types and ours, private to this crate.

use domain::address::Address;
use ethers::types as eth;

use crate::error::ChainError;
use crate::hash::{BlockHash, TxHash};

pub fn to_h160(address: &Address) -> eth::Address {
    eth::Address::from(*address.as_bytes())
}

/// `None` for the zero address.
pub fn from_h160(address: eth::Address) -> Option<Address> {
    Address::from_bytes(address.0).ok()
}

pub fn to_block_id(hash: BlockHash) -> eth::BlockId {
    eth::BlockId::Hash(eth::H256(*hash.as_bytes()))
}

pub fn tx_hash(hash: eth::H256) -> TxHash {
    TxHash::from_bytes(hash.0)
}

pub fn block_hash(hash: eth::H256) -> BlockHash {
    BlockHash::from_bytes(hash.0)
}

pub fn to_u128(value: eth::U256) -> Option<u128> {
    u128::try_from(value).ok()
}

pub fn to_u64(value: eth::U256) -> Option<u64> {
    u64::try_from(value).ok()
}

/// A value that must fit into 128 bits: amounts, balances and fees all do.
pub fn amount(method: &'static str, value: eth::U256) -> Result<u128, ChainError> {
    to_u128(value).ok_or_else(|| ChainError::bad_answer(method, "a value past 2^128"))
}
