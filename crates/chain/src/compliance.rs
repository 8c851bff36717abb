//! Reads and sets the compliance record of a user. Only the operator's tool uses it.

use std::time::Duration;

use domain::address::Address;
use ethers::abi::AbiEncode;
use ethers::types::U256;

use crate::bindings::{compliance_manager as manager, user_registry as registry};
use crate::client::{BlockRef, ChainClient};
use crate::convert::{from_h160, to_h160};
use crate::error::ChainError;
use crate::fees::{DEFAULT_TX_FEE_CAP, FeePolicy};
use crate::query::TransactionReceipt;
use crate::send::SendOutcome;
use crate::signer::{Signer, SignerError};
use crate::transaction::EvmTransaction;

/// The compliance record of one user, and whether the contract finds the user compliant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserCompliance {
    pub risk_score: u8,
    pub attestation: [u8; 32],
    /// Unix seconds; 0 for a user who was never assessed.
    pub last_updated: u64,
    pub verified: bool,
    pub compliant: bool,
}

/// What an officer found out about one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assessment {
    pub risk_score: u8,
    pub attestation: [u8; 32],
    pub verified: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum TransactError {
    #[error(transparent)]
    Chain(#[from] ChainError),
    #[error(transparent)]
    Signer(#[from] SignerError),
    #[error(transparent)]
    FeeAboveCap(#[from] crate::fees::FeeAboveCap),
    #[error("the node would not take the transaction: {0}")]
    NotSent(String),
    #[error("the transaction was mined but reverted; does the key hold the role?")]
    Reverted,
    #[error("no receipt within {0:?}; it may still be mined")]
    NoReceipt(Duration),
}

impl ChainClient {
    /// Reads a user's record from the compliance contract; `None` for a user who was never assessed.
    pub async fn user_compliance(
        &self,
        at_manager: &Address,
        user: &Address,
    ) -> Result<Option<UserCompliance>, ChainError> {
        let at = BlockRef::Latest;
        let found: ethers::types::Address = self.view(at_manager, manager::UserRegistryCall, at).await?;
        let source =
            from_h160(found).ok_or_else(|| ChainError::bad_answer("eth_call", "the zero address"))?;
        let user_word = to_h160(user);
        if !self
            .view::<bool>(&source, registry::IsKnownCall { user: user_word }, at)
            .await?
        {
            return Ok(None);
        }
        let (risk_score, attestation, last_updated, verified): (u8, [u8; 32], U256, bool) = self
            .view(&source, registry::GetUserCall { user: user_word }, at)
            .await?;
        let compliant = self
            .view(at_manager, manager::IsCompliantCall { user: user_word }, at)
            .await?;
        let last_updated = u64::try_from(last_updated).unwrap_or(u64::MAX);
        Ok(Some(UserCompliance {
            risk_score,
            attestation,
            last_updated,
            verified,
            compliant,
        }))
    }

    /// Sets a user's record in one transaction of the officer's key and waits for its receipt.
    pub async fn set_user_compliance(
        &self,
        officer: &dyn Signer,
        at_manager: &Address,
        user: &Address,
        assessment: &Assessment,
        patience: Duration,
    ) -> Result<TransactionReceipt, TransactError> {
        let call = manager::SetUserComplianceCall {
            user: to_h160(user),
            risk_score: assessment.risk_score,
            attestation_hash: assessment.attestation,
            is_verified: assessment.verified,
        };
        self.transact(officer, at_manager, call.encode(), patience).await
    }

    /// Sends one call with a person's key. The executor never uses this: it stores its attempts before it sends them.
    pub async fn transact(
        &self,
        signer: &dyn Signer,
        to: &Address,
        data: Vec<u8>,
        patience: Duration,
    ) -> Result<TransactionReceipt, TransactError> {
        /// For a few storage writes.
        const GAS: u64 = 500_000;
        const FEES: FeePolicy = FeePolicy {
            max_fee_per_gas: 500_000_000_000,
            priority_fee_per_gas: 1_000_000_000,
            tx_fee_cap: DEFAULT_TX_FEE_CAP,
        };
        let head = self.latest_header().await?;
        let transaction = EvmTransaction {
            chain_id: self.chain_id().await?,
            nonce: self.nonce(&signer.address(), BlockRef::Latest).await?,
            to: *to,
            gas_limit: GAS,
            fees: FEES.market_fees(head.base_fee, GAS)?,
            data,
        };
        let signed = transaction.sign(signer).await?;
        match self.send_raw(&signed.raw, signed.hash).await {
            SendOutcome::Rejected(rejection) => {
                return Err(TransactError::NotSent(rejection.kind().to_owned()));
            }
            SendOutcome::Accepted | SendOutcome::AlreadyKnown | SendOutcome::Unknown(_) => {}
        }
        let waited = tokio::time::timeout(patience, self.await_receipt(signed.hash)).await;
        match waited.map_err(|_| TransactError::NoReceipt(patience))?? {
            receipt if receipt.succeeded => Ok(receipt),
            _ => Err(TransactError::Reverted),
        }
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "a node announces no receipt over HTTP; the caller bounds the wait"
    )]
    async fn await_receipt(&self, hash: crate::hash::TxHash) -> Result<TransactionReceipt, ChainError> {
        loop {
            if let Some(receipt) = self.receipt(hash).await? {
                return Ok(receipt);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
