//! Measures what the node alone executes: the same mints, signed beforehand in full batches and sent as fast as it
//! accepts them, on a separate anvil with the stack's block time and gas limit.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chain::fees::Fees;
use chain::transaction::{EvmTransaction, SignedTransaction};
use chain::{LocalKey, calls};
use domain::address::Address;
use domain::country::CountryCode;
use domain::ids::Preimage;
use domain::money::{BASE_UNITS_PER_SHILLING, BaseUnits};
use serde_json::json;
use testkit::anvil::{CHAIN_ID, EXECUTOR_PRIVATE_KEY, Mining, Options};
use testkit::{Addresses, Anvil, evm};
use tokio::time::Instant;

/// Mints in one transaction, as the executor batches under load.
const BATCH: usize = 64;
const GAS_BASE: u64 = 120_000;
const GAS_PER_DEPOSIT: u64 = 140_000;
const GAS_PER_MINT: u64 = 60_000;
/// Gas that the escrow requires before it starts an item.
const GAS_FLOOR: u64 = 310_000;
const FEES: Fees = Fees {
    max_fee_per_gas: 1_000_000_000_000,
    max_priority_fee_per_gas: 1_000_000_000,
};

/// Mints per second of the bare node.
pub async fn measure(mints: usize, block_time: f64) -> Result<f64> {
    let node = Anvil::start_with(Options {
        mining: Mining::Every(block_time),
        ..Options::default()
    })
    .await?;
    let addresses = testkit::contracts::deploy(&node).await?;
    let user = "0x00000000000000000000000000000000000bE7c4";
    evm::set_compliance(&node.url(), &addresses, user, 10, true).await?;
    let batches = mints.div_ceil(BATCH);
    let intents = preimages(&addresses, user, batches * BATCH)?;
    let signed = sign_all(&addresses, &intents).await?;
    let (deposits, executes) = signed.split_at(batches);

    send(&node, deposits).await?;
    let mut blocks_mined = 0;
    while pending(&node, &addresses).await? < intents.len() {
        node.mine(1).await?;
        blocks_mined += 1;
        ensure!(
            blocks_mined < 10_000,
            "the deposits of the bare node are not mined"
        );
    }
    let start = Instant::now();
    send(&node, executes).await?;
    let wanted = BASE_UNITS_PER_SHILLING * u128::try_from(intents.len())?;
    testkit::eventually(Duration::from_mins(5), "the bare node mints", async || {
        let supply = evm::total_supply(&node.url(), &addresses.country_token).await?;
        Ok((supply >= wanted).then_some(()))
    })
    .await?;
    Ok(crate::load::ratio(intents.len(), 1) / start.elapsed().as_secs_f64())
}

fn preimages(addresses: &Addresses, user: &str, count: usize) -> Result<Vec<Preimage>> {
    let (escrow, depositor) = (addresses.escrow.parse()?, addresses.treasury.parse()?);
    let user: Address = user.to_lowercase().parse()?;
    (0..count)
        .map(|i| {
            Ok(Preimage {
                chain_id: CHAIN_ID,
                escrow,
                depositor,
                user,
                amount: BaseUnits::new(BASE_UNITS_PER_SHILLING),
                country_code: CountryCode::KES,
                tx_ref: format!("NODE-{i}").parse()?,
            })
        })
        .collect()
}

/// All deposits, then all mints, by one key with consecutive nonces.
async fn sign_all(addresses: &Addresses, intents: &[Preimage]) -> Result<Vec<SignedTransaction>> {
    let key = LocalKey::from_hex(&EXECUTOR_PRIVATE_KEY.into())?;
    let size = u64::try_from(BATCH)?;
    let deposits = intents
        .chunks(BATCH)
        .map(|batch| (calls::submit_intents(batch), GAS_PER_DEPOSIT));
    let mints = intents.chunks(BATCH).map(|batch| {
        (
            calls::execute_mints(batch.iter().map(Preimage::intent_id)),
            GAS_PER_MINT,
        )
    });
    let mut signed = Vec::new();
    for (nonce, (data, per_item)) in (0_u64..).zip(deposits.chain(mints)) {
        let gas_limit = GAS_BASE + GAS_FLOOR + size * per_item;
        let to = addresses.escrow.parse()?;
        let transaction = EvmTransaction {
            chain_id: CHAIN_ID,
            nonce,
            to,
            gas_limit,
            fees: FEES,
            data,
        };
        signed.push(transaction.sign(&key).await?);
    }
    Ok(signed)
}

async fn send(node: &Anvil, transactions: &[SignedTransaction]) -> Result<()> {
    for transaction in transactions {
        let raw = format!("0x{}", hex::encode(&transaction.raw));
        node.rpc("eth_sendRawTransaction", json!([raw])).await?;
    }
    Ok(())
}

/// Number of pending deposits of one shilling.
async fn pending(node: &Anvil, addresses: &Addresses) -> Result<usize> {
    let call = json!([{"to": addresses.escrow, "data": crate::chain_view::PENDING_TOTAL}, "latest"]);
    let answer = node.rpc("eth_call", call).await?;
    let word = answer
        .as_str()
        .and_then(|text| text.strip_prefix("0x"))
        .context("no answer")?;
    Ok(usize::try_from(
        u128::from_str_radix(word, 16)? / BASE_UNITS_PER_SHILLING,
    )?)
}
