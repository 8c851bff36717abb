//! Signs for a nonce that is not mined: the same call at a higher fee, or an empty transfer into a gap. Like every attempt
//! these are stored, with their members, before they are broadcast.

use std::sync::Arc;

use chain::TxHash;
use chain::fees::FeePolicy;
use chain::query::BlockHeader;
use chain::transaction::{EvmTransaction, TRANSFER_GAS};
use domain::command::AttemptPurpose;
use domain::ids::{IntentId, MessageId};
use storage::Pool;
use storage::executor::attempts::{self, AttemptRow, NewAttempt};
use storage::executor::signers::{self, SignerLease};

use crate::attempts::stored_bytes::{signed_members, verify_stored};
use crate::error::WorkError;
use crate::observe;
use crate::state::SignerHandle;

pub struct Replacer {
    pub pool: Pool,
    pub signer: Arc<SignerHandle>,
    pub chain_id: u64,
    pub fees: FeePolicy,
}

impl Replacer {
    /// Signs the call of `stuck` again with higher fees and nothing else changed; `None` when its bytes are not ours, or it
    /// no longer waits.
    pub async fn bump_fee(
        &self,
        lease: &SignerLease,
        head: &BlockHeader,
        stuck: &AttemptRow,
    ) -> Result<Option<AttemptRow>, WorkError> {
        let Some(read) = verify_stored(stuck) else {
            return Ok(None);
        };
        let fees =
            self.fees
                .replacement_fees(read.transaction.fees, head.base_fee, read.transaction.gas_limit)?;
        let transaction = EvmTransaction {
            fees,
            ..read.transaction
        };
        let row = self
            .store(lease, &transaction, stuck.purpose, Some(stuck))
            .await?;
        if let Some(row) = &row {
            observe::replaced(row.nonce, &TxHash::from_bytes(row.tx_hash), fees.max_fee_per_gas);
        }
        Ok(row)
    }

    /// Fills a missing nonce with an empty transfer to ourselves; `None` when the nonce is not missing after all.
    pub async fn fill_gap(
        &self,
        lease: &SignerLease,
        head: &BlockHeader,
        nonce: u64,
    ) -> Result<Option<AttemptRow>, WorkError> {
        let fees = self.fees.market_fees(head.base_fee, TRANSFER_GAS)?;
        let transaction = EvmTransaction::empty_transfer(self.chain_id, nonce, self.signer.address(), fees);
        let row = self
            .store(lease, &transaction, AttemptPurpose::GapFiller, None)
            .await?;
        if let Some(row) = &row {
            observe::gap_filled(nonce, &TxHash::from_bytes(row.tx_hash));
        }
        Ok(row)
    }

    /// `None` when a block ingested meanwhile used the nonce.
    async fn store(
        &self,
        lease: &SignerLease,
        transaction: &EvmTransaction,
        purpose: AttemptPurpose,
        replaces: Option<&AttemptRow>,
    ) -> Result<Option<AttemptRow>, WorkError> {
        // Sign before locking: nothing waits for the signer with a row locked, and unstored bytes are never sent.
        let signed = self.signer.sign(transaction).await?;
        let mut client = self.pool.get().await?;
        let tx = client.begin().await?;
        signers::check(&tx, lease).await?.ok_or(WorkError::NoLease)?;
        let replaced = replaces.map(|replaced| replaced.id);
        if !attempts::nonce_is_free(&tx, &lease.signer, transaction.nonce, replaced).await? {
            return Ok(None);
        }
        let items = match replaces {
            Some(replaced) => confirmed_members(replaced, &tx).await?,
            None => Vec::new(),
        };
        let new = NewAttempt {
            nonce: transaction.nonce,
            tx_hash: *signed.hash.as_bytes(),
            raw_transaction: &signed.raw,
            purpose,
            replaces: replaced,
            items: &items,
        };
        let id = attempts::insert(&tx, lease, &new).await?;
        tx.commit().await?;
        Ok(Some(AttemptRow {
            id,
            signer: lease.signer,
            nonce: transaction.nonce,
            tx_hash: *signed.hash.as_bytes(),
            raw_transaction: signed.raw,
            purpose,
            block_number: None,
        }))
    }
}

/// The items of the replaced attempt that its signed bytes contain.
async fn confirmed_members(
    replaced: &AttemptRow,
    tx: &storage::DbTransaction<'_>,
) -> Result<Vec<(MessageId, IntentId)>, WorkError> {
    let signed = signed_members(replaced);
    let rows = attempts::items(tx, &[replaced.id]).await?;
    let ours = rows.into_iter().filter(|item| signed.contains(&item.intent_id));
    Ok(ours.map(|item| (item.message_id, item.intent_id)).collect())
}
