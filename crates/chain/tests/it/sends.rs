//! What a node answers to a send, and what it means.

use std::time::Duration;

use anyhow::Result;
use chain::classify::Rejection;
use chain::fees::Fees;
use chain::transaction::{EvmTransaction, recover};
use chain::{BlockRef, ChainClient, LocalKey, RpcConfig, SendOutcome, Signer, calls};
use testkit::anvil::{EXECUTOR_PRIVATE_KEY, Mining};
use testkit::rpc_proxy::{FaultRates, RpcProxy};
use testkit::{Anvil, node_errors};

use crate::rig::World;

#[tokio::test]
async fn send_errors_of_this_node_are_classified() -> Result<()> {
    let world = World::new().await?;
    let data = calls::execute_mints([]);
    let first = world.sign(0, 500_000, data.clone()).await?;
    assert_eq!(recover(&first.raw)?.signer, world.executor.address());
    assert_eq!(
        world.chain.send_raw(&first.raw, first.hash).await,
        SendOutcome::Accepted
    );
    assert_eq!(
        world.chain.send_raw(&first.raw, first.hash).await,
        SendOutcome::AlreadyKnown
    );
    // Less than before and still above any base fee that was paid for, however long the deployment took.
    let before = recover(&first.raw)?.transaction;
    let cheaper = EvmTransaction {
        fees: Fees {
            max_fee_per_gas: before.fees.max_fee_per_gas / 4 * 3,
            max_priority_fee_per_gas: before.fees.max_priority_fee_per_gas / 4 * 3,
        },
        ..before
    };
    let cheaper = cheaper.sign(&world.executor).await?;
    let rejected = SendOutcome::Rejected(Rejection::ReplacementUnderpriced);
    assert_eq!(world.chain.send_raw(&cheaper.raw, cheaper.hash).await, rejected);
    world.node.mine(1).await?;
    let again = world.chain.send_raw(&first.raw, first.hash).await;
    assert_eq!(again, SendOutcome::Rejected(Rejection::NonceTooLow));

    let poor: LocalKey = format!("0x{}", "11".repeat(32)).parse()?;
    let broke = recover(&first.raw)?.transaction.sign(&poor).await?;
    let rejected = SendOutcome::Rejected(Rejection::InsufficientFunds);
    assert_eq!(world.chain.send_raw(&broke.raw, broke.hash).await, rejected);
    for (transaction, rejection) in refused(&recover(&first.raw)?.transaction) {
        let signed = transaction.sign(&world.executor).await?;
        assert_eq!(
            world.chain.send_raw(&signed.raw, signed.hash).await,
            SendOutcome::Rejected(rejection)
        );
    }
    Ok(())
}

/// Transactions that no node takes, each with the reason.
fn refused(base: &EvmTransaction) -> [(EvmTransaction, Rejection); 4] {
    [
        (
            EvmTransaction {
                chain_id: 1,
                nonce: 1,
                ..base.clone()
            },
            Rejection::Invalid,
        ),
        (
            EvmTransaction {
                gas_limit: 100_000_000,
                nonce: 1,
                ..base.clone()
            },
            Rejection::GasLimit,
        ),
        (
            EvmTransaction {
                gas_limit: 100,
                nonce: 1,
                ..base.clone()
            },
            Rejection::GasLimit,
        ),
        (
            EvmTransaction {
                fees: Fees {
                    max_fee_per_gas: 1,
                    max_priority_fee_per_gas: 1,
                },
                nonce: 1,
                ..base.clone()
            },
            Rejection::FeeTooLow,
        ),
    ]
}

#[tokio::test]
async fn send_errors_of_every_known_node_are_classified_over_http() -> Result<()> {
    let world = World::new().await?;
    let proxy = RpcProxy::start(&world.node.url(), 7).await?;
    let config = RpcConfig::new(vec![proxy.url().into()], Duration::from_secs(5));
    let chain = ChainClient::new(&config, world.chain.escrow())?;
    let signed = world.sign(0, 500_000, calls::execute_mints([])).await?;
    assert_eq!(
        chain.send_raw(&signed.raw, signed.hash).await,
        SendOutcome::Accepted
    );

    proxy.set(FaultRates {
        false_error: 1000,
        ..FaultRates::default()
    });
    let mut wanted: Vec<_> = node_errors::all()
        .iter()
        .map(|row| (row.text, row.means))
        .collect();
    wanted.sort_unstable();
    wanted.dedup();
    // Each message is returned once in every round, starting at one that the seed picks.
    let mut heard = Vec::new();
    for _ in &wanted {
        heard.push(chain.send_raw(&signed.raw, signed.hash).await.kind());
    }
    let mut wanted: Vec<_> = wanted.iter().map(|(_, means)| *means).collect();
    wanted.sort_unstable();
    heard.sort_unstable();
    assert_eq!(heard, wanted);
    Ok(())
}

#[tokio::test]
async fn raw_bytes_are_sent_to_every_endpoint() -> Result<()> {
    let (first, at) = Anvil::deployed(Mining::Manual).await?;
    let (second, _) = Anvil::deployed(Mining::Manual).await?;
    let urls = vec![first.url().as_str().into(), second.url().as_str().into()];
    let chain = ChainClient::new(&RpcConfig::new(urls, Duration::from_secs(5)), at.escrow.parse()?)?;
    let key: LocalKey = EXECUTOR_PRIVATE_KEY.parse()?;
    let head = chain.latest_header().await?;
    let fees = Fees {
        max_fee_per_gas: head.base_fee * 2 + 1_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
    };
    let nonce = chain.nonce(&key.address(), BlockRef::Latest).await?;
    let signed = EvmTransaction::empty_transfer(31430, nonce, key.address(), fees)
        .sign(&key)
        .await?;
    let sent = chain.send_to_all_endpoints(&signed.raw, signed.hash).await;
    assert!(
        matches!(sent, SendOutcome::Accepted | SendOutcome::AlreadyKnown),
        "{sent:?}"
    );
    for node in [&first, &second] {
        testkit::eventually(Duration::from_secs(10), "the node has it", async || {
            let found = node
                .rpc(
                    "eth_getTransactionByHash",
                    serde_json::json!([signed.hash.to_string()]),
                )
                .await?;
            Ok((!found.is_null()).then_some(()))
        })
        .await?;
    }
    Ok(())
}
