//! The chain crate against a real node with the real contracts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use chain::classify::Rejection;
use chain::fees::{DEFAULT_TX_FEE_CAP, FeePolicy, Fees};
use chain::query::IntentStatus::{Executed, Pending, Refunded};
use chain::transaction::{EvmTransaction, SignedTransaction, recover};
use chain::{
    BlockRef, ChainClient, ChainError, EscrowEvent, ItemOutcome, LocalKey, RpcConfig, SendOutcome, Signer,
    calls,
};
use domain::address::Address;
use domain::country::CountryCode;
use domain::ids::{IntentId, Preimage};
use testkit::anvil::{ADMIN_PRIVATE_KEY, EXECUTOR_PRIVATE_KEY, Mining};
use testkit::rpc_proxy::{FaultRates, RpcProxy};
use testkit::{Addresses, Anvil, node_errors};

const FEES: FeePolicy = FeePolicy {
    max_fee_per_gas: 100_000_000_000,
    priority_fee_per_gas: 1_000_000_000,
    tx_fee_cap: DEFAULT_TX_FEE_CAP,
};

struct World {
    node: Anvil,
    at: Addresses,
    chain: ChainClient,
    executor: LocalKey,
    admin: LocalKey,
}

impl World {
    async fn new() -> Result<Self> {
        let (node, at) = Anvil::deployed(Mining::Manual).await?;
        let config = RpcConfig::new(vec![node.url().into()], Duration::from_secs(5));
        let chain = ChainClient::new(&config, at.escrow.parse()?)?;
        Ok(Self {
            node,
            at,
            chain,
            executor: EXECUTOR_PRIVATE_KEY.parse()?,
            admin: ADMIN_PRIVATE_KEY.parse()?,
        })
    }

    fn intent(&self, n: u64) -> Result<Preimage> {
        let mut user = [0x42; 20];
        user[12..].copy_from_slice(&n.to_be_bytes());
        Ok(Preimage {
            chain_id: testkit::anvil::CHAIN_ID,
            escrow: self.chain.escrow(),
            depositor: self.at.treasury.parse()?,
            user: Address::from_bytes(user)?,
            amount: "150000000000000000000".parse()?,
            country_code: CountryCode::KES,
            tx_ref: format!("TX{n:010}").parse()?,
        })
    }

    async fn sign(&self, nonce: u64, gas_limit: u64, data: Vec<u8>) -> Result<SignedTransaction> {
        let head = self.chain.latest_header().await?;
        let transaction = EvmTransaction {
            chain_id: self.chain.chain_id().await?,
            nonce,
            to: self.chain.escrow(),
            gas_limit,
            fees: FEES.market_fees(head.base_fee, gas_limit)?,
            data,
        };
        Ok(transaction.sign(&self.executor).await?)
    }

    /// Sends and mines; the outcome of each item by its log, and the gas used.
    async fn batch(&self, data: Vec<u8>) -> Result<(Vec<EscrowEvent>, u64)> {
        let nonce = self
            .chain
            .nonce(&self.executor.address(), BlockRef::Latest)
            .await?;
        let signed = self.sign(nonce, 16_000_000, data).await?;
        let sent = self.chain.send_raw(&signed.raw, signed.hash).await;
        ensure!(sent == SendOutcome::Accepted, "{sent:?}");
        self.node.mine(1).await?;
        let receipt = self.chain.receipt(signed.hash).await?.context("mined")?;
        ensure!(receipt.succeeded);
        let logs = self.chain.escrow_logs(receipt.block_hash).await?;
        ensure!(logs.iter().all(|log| log.tx_hash == signed.hash));
        Ok((logs.into_iter().map(|log| log.event).collect(), receipt.gas_used))
    }

    async fn make_compliant(&self, user: &Address) -> Result<()> {
        self.node
            .rpc("evm_setAutomine", serde_json::json!([true]))
            .await?;
        let manager = self.at.compliance_manager.parse()?;
        let facts = (10, [7; 32], true);
        self.chain
            .set_user_compliance(&self.admin, &manager, user, facts, Duration::from_secs(5))
            .await?;
        self.node
            .rpc("evm_setAutomine", serde_json::json!([false]))
            .await?;
        Ok(())
    }
}

fn ids(intents: &[Preimage]) -> Vec<IntentId> {
    intents.iter().map(Preimage::intent_id).collect()
}

#[tokio::test]
async fn the_deployment_reads_as_it_was_made() -> Result<()> {
    let world = World::new().await?;
    let found = world.chain.deployment().await?;
    assert_eq!(found.chain_id, testkit::anvil::CHAIN_ID);
    assert_eq!(found.treasury, world.at.treasury.parse()?);
    assert_eq!(
        (found.stablecoin_decimals, found.country_token_decimals),
        (18, 18)
    );
    assert_eq!(found.country_code, CountryCode::KES.to_word());
    assert_eq!(found.daily_limit_per_user, 20_000_000_000_000_000_000_000);
    assert!(
        world
            .chain
            .may_execute(&world.executor.address(), chain::BlockRef::Latest)
            .await?
    );
    assert!(
        !world
            .chain
            .may_execute(&world.admin.address(), chain::BlockRef::Latest)
            .await?
    );
    let (latest, first) = (chain::BlockRef::Latest, chain::BlockRef::Number(0));
    assert!(world.chain.has_code(&world.chain.escrow(), latest).await?);
    assert!(!world.chain.has_code(&world.chain.escrow(), first).await?);
    assert!(!world.chain.has_code(&world.admin.address(), latest).await?);
    let condition = world.chain.escrow_status(&found).await?;
    assert!(!condition.escrow_paused && !condition.token_paused);
    assert_eq!(condition.compliance_paused, Some(false));
    assert_eq!(condition.treasury_allowance, u128::MAX);
    assert!(condition.treasury_balance > 0);
    let standing = world.chain.signer_status(&world.executor.address()).await?;
    assert!(standing.balance > 0 && standing.may_execute && standing.mint_available > 0);
    Ok(())
}

#[tokio::test]
async fn deposit_mint_and_refund_with_an_outcome_per_item() -> Result<()> {
    let world = World::new().await?;
    let intents = [world.intent(1)?, world.intent(2)?, world.intent(3)?];
    let all = ids(&intents);
    world.make_compliant(&intents[0].user).await?;
    world.make_compliant(&intents[2].user).await?;

    let (events, _) = world.batch(calls::submit_intents(&intents)).await?;
    assert_eq!(
        events
            .iter()
            .map(|e| (e.name(), e.intent_id()))
            .collect::<Vec<_>>(),
        [
            ("submitted", Some(all[0])),
            ("submitted", Some(all[1])),
            ("submitted", Some(all[2])),
        ]
    );
    let before = world.chain.latest_header().await?;

    let (events, _) = world
        .batch(calls::execute_mints([
            all[0],
            all[1],
            IntentId::from_bytes([9; 32]),
        ]))
        .await?;
    assert!(matches!(events[0], EscrowEvent::Executed { intent_id, .. } if intent_id == all[0]));
    assert!(
        matches!(
            events[1],
            EscrowEvent::Skipped {
                outcome: ItemOutcome::NotCompliant,
                ..
            }
        ),
        "{events:?}"
    );
    assert!(
        matches!(
            events[2],
            EscrowEvent::Skipped {
                outcome: ItemOutcome::NotFound,
                ..
            }
        ),
        "{events:?}"
    );

    let (events, _) = world
        .batch(calls::refund_intents([all[1], all[0]], "not_compliant"))
        .await?;
    let EscrowEvent::Refunded { reason, .. } = &events[0] else {
        panic!("{events:?}")
    };
    assert_eq!(reason, "not_compliant");
    assert!(
        matches!(
            events[1],
            EscrowEvent::Skipped {
                outcome: ItemOutcome::AlreadyExecuted,
                ..
            }
        ),
        "{events:?}"
    );

    let (events, _) = world.batch(calls::submit_intents(&intents[..1])).await?;
    assert!(
        matches!(
            events[0],
            EscrowEvent::Skipped {
                outcome: ItemOutcome::AlreadyExists,
                ..
            }
        ),
        "{events:?}"
    );

    // Records now, and in the block before the mint.
    let unknown = IntentId::from_bytes([9; 32]);
    let asked = [all[0], all[1], all[2], unknown];
    let statuses = |found: Vec<Option<chain::query::IntentOnChain>>| {
        found
            .into_iter()
            .map(|record| record.map(|record| record.status))
            .collect::<Vec<_>>()
    };
    let now = statuses(world.chain.intents(&asked, BlockRef::Latest).await?);
    let then = statuses(world.chain.intents(&asked, BlockRef::Hash(before.hash)).await?);
    assert_eq!(now, [Some(Executed), Some(Refunded), Some(Pending), None]);
    assert_eq!(then, [Some(Pending), Some(Pending), Some(Pending), None]);
    // More than one call may ask for: an answer to each, in its place.
    let mut many = vec![unknown; 16_384];
    (many[0], many[256], many[16_383]) = (all[0], all[1], all[2]);
    let found = statuses(world.chain.intents(&many, BlockRef::Hash(before.hash)).await?);
    let known: Vec<usize> = (0..found.len()).filter(|at| found[*at].is_some()).collect();
    assert_eq!((found.len(), known), (16_384, vec![0, 256, 16_383]));
    assert_eq!(
        world
            .chain
            .nonce(&world.executor.address(), BlockRef::Hash(before.hash))
            .await?,
        1
    );
    let token = world.at.country_token.parse()?;
    assert_eq!(
        world
            .chain
            .token_balance(&token, &intents[0].user, BlockRef::Latest)
            .await?,
        intents[0].amount.get()
    );
    assert_eq!(
        world.chain.pending_total(BlockRef::Latest).await?,
        intents[2].amount.get()
    );
    Ok(())
}

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
    let base = recover(&first.raw)?.transaction;
    for (transaction, rejection) in [
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
    ] {
        let signed = transaction.sign(&world.executor).await?;
        assert_eq!(
            world.chain.send_raw(&signed.raw, signed.hash).await,
            SendOutcome::Rejected(rejection)
        );
    }
    Ok(())
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
async fn missing_blocks_and_contracts_give_typed_errors() -> Result<()> {
    let world = World::new().await?;
    let head = world.chain.latest_header().await?;
    assert_eq!(world.chain.header(head.number).await?, Some(head));
    assert_eq!(world.chain.header(head.number + 5).await?, None);
    let nowhere = chain::BlockHash::from_bytes([3; 32]);
    let error = world
        .chain
        .nonce(&world.executor.address(), BlockRef::Hash(nowhere))
        .await
        .unwrap_err();
    assert!(error.is_transient(), "{error:?}");
    assert!(
        world
            .chain
            .escrow_logs(nowhere)
            .await
            .is_err_and(|error| error.is_transient())
    );
    assert_eq!(
        world.chain.receipt(chain::TxHash::from_bytes([3; 32])).await?,
        None
    );
    // A wallet has no such function.
    let elsewhere = ChainClient::new(
        &RpcConfig::new(vec![world.node.url().into()], Duration::from_secs(5)),
        world.admin.address(),
    )?;
    let error = elsewhere.deployment().await.unwrap_err();
    assert!(
        matches!(error, ChainError::BadAnswer { .. } | ChainError::Reverted(_)),
        "{error:?}"
    );
    Ok(())
}

/// The figures that size batches; see `GAS` in the executor.
#[tokio::test]
async fn gas_per_item_stays_within_what_batches_are_sized_by() -> Result<()> {
    let world = World::new().await?;
    for count in [1_u64, 16, 64] {
        let intents = (0..count)
            .map(|n| world.intent(1000 * count + n))
            .collect::<Result<Vec<_>>>()?;
        for intent in &intents {
            world.make_compliant(&intent.user).await?;
        }
        let (_, submit) = world.batch(calls::submit_intents(&intents)).await?;
        let (half, rest) = intents.split_at(intents.len() / 2);
        let (events, execute) = world.batch(calls::execute_mints(ids(rest))).await?;
        assert!(
            events.iter().all(|event| event.name() == "executed"),
            "{events:?}"
        );
        let refund = if half.is_empty() {
            0
        } else {
            world.batch(calls::refund_intents(ids(half), "declined")).await?.1
        };
        let each = |gas: u64, items: usize| gas.checked_div(u64::try_from(items).unwrap_or(1)).unwrap_or(0);
        println!(
            "{count}: submit {submit} ({} each), execute {execute} ({} each), refund {refund} ({} each)",
            each(submit, intents.len()),
            each(execute, rest.len()),
            each(refund, half.len())
        );
        let items = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        assert!(submit < 100_000 + 135_000 * items(intents.len()));
        assert!(execute < 100_000 + 75_000 * items(rest.len()));
        assert!(refund < 100_000 + 60_000 * items(half.len()));
    }
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
