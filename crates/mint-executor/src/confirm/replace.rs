//! Signs for a nonce that is not mined: the same call at a higher fee, or an empty transfer into a gap. Like every attempt
//! these are stored, with their members, before they are broadcast.

use chain::TxHash;
use chain::query::BlockHeader;
use chain::transaction::{EvmTransaction, RecoveredTransaction, TRANSFER_GAS, recover};
use domain::command::AttemptPurpose;
use domain::ids::{IntentId, MessageId};
use storage::executor::attempts::{self, AttemptRow, NewAttempt};
use storage::executor::signers::{self, SignerLease};

use super::apply::signed_members;
use crate::context::{Context, WorkError};
use crate::observe;
use crate::signer_handle::SignerHandle;

/// Decodes the stored bytes, if the attempt's signer signed them with this hash and nonce.
pub fn recover_signed(attempt: &AttemptRow) -> Option<RecoveredTransaction> {
    recover(&attempt.raw_transaction).ok().filter(|read| {
        *read.signer.as_bytes() == attempt.signer
            && *read.hash.as_bytes() == attempt.tx_hash
            && read.transaction.nonce == attempt.nonce
    })
}

/// The same, and raises an alarm otherwise.
pub fn verify_stored(attempt: &AttemptRow) -> Option<RecoveredTransaction> {
    let read = recover_signed(attempt);
    if read.is_none() {
        tracing::error!(
            attempt = attempt.id,
            "the stored bytes of an attempt are not what we signed"
        );
        observe::bytes_tampered();
    }
    read
}

/// Signs the call of `stuck` again with higher fees and nothing else changed; `None` when its bytes are not ours, or it
/// no longer waits.
pub async fn bump_fee(
    ctx: &Context,
    (signer, lease): (&SignerHandle, &SignerLease),
    head: &BlockHeader,
    stuck: &AttemptRow,
) -> Result<Option<AttemptRow>, WorkError> {
    let Some(read) = verify_stored(stuck) else {
        return Ok(None);
    };
    let fees = ctx.tuning.fees().replacement_fees(
        read.transaction.fees,
        head.base_fee,
        read.transaction.gas_limit,
    )?;
    let transaction = EvmTransaction {
        fees,
        ..read.transaction
    };
    let row = store(ctx, (signer, lease), &transaction, (stuck.purpose, Some(stuck))).await?;
    if let Some(row) = &row {
        observe::replaced(row.nonce, &TxHash::from_bytes(row.tx_hash), fees.max_fee_per_gas);
    }
    Ok(row)
}

/// Fills a missing nonce with an empty transfer to ourselves; `None` when the nonce is not missing after all.
pub async fn fill_gap(
    ctx: &Context,
    (signer, lease): (&SignerHandle, &SignerLease),
    head: &BlockHeader,
    nonce: u64,
) -> Result<Option<AttemptRow>, WorkError> {
    let fees = ctx.tuning.fees().market_fees(head.base_fee, TRANSFER_GAS)?;
    let transaction =
        EvmTransaction::empty_transfer(ctx.policy.chain.chain_id, nonce, signer.address(), fees);
    let row = store(
        ctx,
        (signer, lease),
        &transaction,
        (AttemptPurpose::GapFiller, None),
    )
    .await?;
    if let Some(row) = &row {
        observe::gap_filled(nonce, &TxHash::from_bytes(row.tx_hash));
    }
    Ok(row)
}

/// `None` when a block ingested meanwhile used the nonce.
async fn store(
    ctx: &Context,
    (signer, lease): (&SignerHandle, &SignerLease),
    transaction: &EvmTransaction,
    (purpose, replaces): (AttemptPurpose, Option<&AttemptRow>),
) -> Result<Option<AttemptRow>, WorkError> {
    // Sign before locking: nothing waits for the signer with a row locked, and unstored bytes are never sent.
    let signed = signer.sign(transaction).await?;
    let mut client = ctx.pool.get().await?;
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
