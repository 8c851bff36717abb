//! EIP-1559 transactions: built, signed, and read back from their stored bytes.
//!
//! A replacement copies everything but the fees from what [`recover`] reads out of the stored signed bytes, so
//! no edited row can change what is called.

use domain::address::Address;
use ethers::types::transaction::eip2718::TypedTransaction;
use ethers::types::{Eip1559TransactionRequest, NameOrAddress, U256};
use ethers::utils::{keccak256, rlp::Rlp};

use crate::convert::{from_h160, to_h160, to_u64, to_u128};
use crate::fees::Fees;
use crate::hash::TxHash;
use crate::signer::{Signer, SignerError};

/// Type byte of an EIP-1559 transaction.
const EIP_1559: u8 = 2;

/// Gas of a plain transfer.
pub const TRANSFER_GAS: u64 = 21_000;

/// The fields of an EIP-1559 transaction. We never send native value, so there is no such field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvmTransaction {
    pub chain_id: u64,
    pub nonce: u64,
    pub to: Address,
    pub gas_limit: u64,
    pub fees: Fees,
    pub data: Vec<u8>,
}

/// A signed transaction, to be stored and then broadcast.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedTransaction {
    pub hash: TxHash,
    pub raw: Vec<u8>,
}

/// The content of stored bytes, and their signer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecoveredTransaction {
    pub hash: TxHash,
    pub signer: Address,
    pub transaction: EvmTransaction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored bytes are not a transaction of ours: {0}")]
pub struct RecoverError(&'static str);

impl EvmTransaction {
    /// An empty transfer to ourselves, which uses up a nonce and changes nothing else.
    pub fn empty_transfer(chain_id: u64, nonce: u64, own: Address, fees: Fees) -> Self {
        Self {
            chain_id,
            nonce,
            to: own,
            gas_limit: TRANSFER_GAS,
            fees,
            data: Vec::new(),
        }
    }

    pub async fn sign(&self, signer: &dyn Signer) -> Result<SignedTransaction, SignerError> {
        let typed = self.typed();
        let signature = signer.sign(typed.sighash().0).await?;
        let raw = typed.rlp_signed(&signature.to_ethers()).to_vec();
        Ok(SignedTransaction {
            hash: TxHash::from_bytes(keccak256(&raw)),
            raw,
        })
    }

    fn typed(&self) -> TypedTransaction {
        TypedTransaction::Eip1559(Eip1559TransactionRequest {
            from: None,
            to: Some(NameOrAddress::Address(to_h160(&self.to))),
            gas: Some(self.gas_limit.into()),
            value: Some(U256::zero()),
            data: Some(self.data.clone().into()),
            nonce: Some(self.nonce.into()),
            access_list: ethers::types::transaction::eip2930::AccessList::default(),
            max_priority_fee_per_gas: Some(self.fees.max_priority_fee_per_gas.into()),
            max_fee_per_gas: Some(self.fees.max_fee_per_gas.into()),
            chain_id: Some(self.chain_id.into()),
        })
    }
}

/// Decodes stored bytes; refuses anything that [`EvmTransaction::sign`] would not have written.
pub fn recover(raw: &[u8]) -> Result<RecoveredTransaction, RecoverError> {
    if raw.first() != Some(&EIP_1559) {
        return Err(RecoverError("another transaction type"));
    }
    let (typed, signature) =
        TypedTransaction::decode_signed(&Rlp::new(raw)).map_err(|_| RecoverError("it does not decode"))?;
    // ethers would subtract from a larger value without a check.
    if signature.v > 1 {
        return Err(RecoverError("its recovery bit is none"));
    }
    // Trailing or non-canonical bytes would have another hash than what the fields say.
    if typed.rlp_signed(&signature).as_ref() != raw {
        return Err(RecoverError("it is not in canonical form"));
    }
    let signer = signature
        .recover(typed.sighash())
        .map_err(|_| RecoverError("nobody signed it"))?;
    let signer = from_h160(signer).ok_or(RecoverError("nobody signed it"))?;
    let transaction = from_typed(&typed).ok_or(RecoverError("it is not of the form we write"))?;
    Ok(RecoveredTransaction {
        hash: TxHash::from_bytes(keccak256(raw)),
        signer,
        transaction,
    })
}

fn from_typed(typed: &TypedTransaction) -> Option<EvmTransaction> {
    let TypedTransaction::Eip1559(request) = typed else {
        return None;
    };
    if !request.value.unwrap_or_default().is_zero() || !request.access_list.0.is_empty() {
        return None;
    }
    let Some(NameOrAddress::Address(to)) = request.to else {
        return None;
    };
    Some(EvmTransaction {
        chain_id: request.chain_id?.as_u64(),
        nonce: to_u64(request.nonce.unwrap_or_default())?,
        to: from_h160(to)?,
        gas_limit: to_u64(request.gas?)?,
        fees: Fees {
            max_fee_per_gas: to_u128(request.max_fee_per_gas?)?,
            max_priority_fee_per_gas: to_u128(request.max_priority_fee_per_gas?)?,
        },
        data: request
            .data
            .as_ref()
            .map(|data| data.to_vec())
            .unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signer::test_key as key;
    use proptest::prelude::*;

    fn transaction(nonce: u64, data: Vec<u8>) -> EvmTransaction {
        EvmTransaction {
            chain_id: 31430,
            nonce,
            to: "0x5FbDB2315678afecb367f032d93F642f64180aa3".parse().unwrap(),
            gas_limit: 8_000_000,
            fees: Fees {
                max_fee_per_gas: 3_000_000_000,
                max_priority_fee_per_gas: 1_000_000_000,
            },
            data,
        }
    }

    #[tokio::test]
    async fn signing_twice_gives_the_same_bytes() {
        let one = transaction(0, vec![1, 2, 3]).sign(&key()).await.unwrap();
        let two = transaction(0, vec![1, 2, 3]).sign(&key()).await.unwrap();
        assert_eq!(one, two);
    }

    #[tokio::test]
    async fn any_flipped_bit_is_detected() {
        let wanted = transaction(5, vec![7; 40]);
        let signed = wanted.sign(&key()).await.unwrap();
        for at in 0..signed.raw.len() {
            let mut raw = signed.raw.clone();
            raw[at] ^= 1;
            if let Ok(read) = recover(&raw) {
                assert!(
                    read.signer != key().address() || read.transaction == wanted,
                    "byte {at}"
                );
                assert_ne!(read.hash, signed.hash);
            }
        }
        let mut longer = signed.raw;
        longer.push(0);
        assert!(recover(&longer).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn stored_bytes_read_back(nonce in any::<u64>(), data in proptest::collection::vec(any::<u8>(), 0..300)) {
            let wanted = transaction(nonce, data);
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let signed = runtime.block_on(wanted.sign(&key())).unwrap();
            let read = recover(&signed.raw).unwrap();
            prop_assert_eq!(read, RecoveredTransaction { hash: signed.hash, signer: key().address(), transaction: wanted });
        }

        #[test]
        fn no_bytes_panic(raw in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut raw = raw;
            let _ = recover(&raw);
            raw.insert(0, EIP_1559);
            let _ = recover(&raw);
        }
    }
}
