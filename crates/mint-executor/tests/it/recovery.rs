//! Crashes, lost answers, forks, and transactions that others sent with our key.

use anyhow::Result;
use domain::clock::{Clock, SystemSource};
use domain::command::Command;
use domain::intent::{ChainLeg, Finality};
use domain::item_result::LegReason;
use messaging::wire::Outcome;
use mint_executor::context::WorkError;
use mint_executor::lease::{self, FollowerTenure};
use mint_executor::signer_handle::FeeCapWait;
use mint_executor::submit::{self, BatchResult, CommandQueue, Simulation};
use runtime::halts::Halts;
use serde_json::json;
use storage::executor::attempts;
use testkit::ChaosProxy;
use tokio::time::Instant;

use crate::faulty::{Fault, faulty};
use crate::rig::{PAUSE, TestEnvironment, TestExecutor};

#[tokio::test]
async fn a_crash_between_commit_and_broadcast_sends_the_same_bytes_after_the_restart() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut first = world.executor()?;
    first.acquire_leases().await?;
    let intent = world.intent(1)?;
    first.submit(&intent).await?;
    let head = first.ctx.chain.latest_header().await?;
    let (built, _) = submit::build(
        &first.ctx,
        (first.signer(), &first.lease()?),
        Command::Submit,
        (&head, &Simulation::skipped()),
    )
    .await?;
    let BatchResult::Attempt { signed, .. } = built else {
        panic!("{built:?}")
    };
    let known = world
        .node
        .rpc("eth_getTransactionByHash", json!([signed.hash.to_string()]))
        .await?;
    assert!(known.is_null(), "nothing leaves before the commit: {known}");
    drop(first);
    world.expire_leases()?;

    let mut second = world.executor()?;
    second.acquire_leases().await?;
    assert_eq!(
        second.round(Command::Submit).await?,
        BatchResult::Nothing,
        "nothing is signed twice"
    );
    world.node.mine(1).await?;
    second.poll().await?;
    let receipt = second.ctx.chain.receipt(signed.hash).await?;
    assert!(
        receipt.is_some_and(|receipt| receipt.succeeded),
        "the stored bytes were sent"
    );
    assert_eq!(second.leg(&intent).await?, ChainLeg::Escrowed);
    assert_eq!(world.count("select count(*) from attempts")?, 1);
    Ok(())
}

#[tokio::test]
async fn a_lost_answer_is_unknown_and_the_same_bytes_go_again() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let proxy = ChaosProxy::before(&world.node.url()).await?;
    let mut rig = world.executor_at(&proxy.through(&world.node.url())?)?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    let head = rig.ctx.chain.latest_header().await?;
    let (built, _) = submit::build(
        &rig.ctx,
        (rig.signer(), &rig.lease()?),
        Command::Submit,
        (&head, &Simulation::skipped()),
    )
    .await?;
    let BatchResult::Attempt { id, signed, .. } = built else {
        panic!("{built:?}")
    };
    proxy.cut();
    submit::broadcast(&rig.ctx, id, (&rig.signer().address_bytes(), &signed)).await;
    assert_eq!(
        rig.leg(&intent).await?,
        ChainLeg::Submitting,
        "nothing is believed lost"
    );
    proxy.resume();
    rig.mine(&world, 1).await?;
    assert_eq!(
        rig.ctx.chain.receipt(signed.hash).await?,
        None,
        "the node never had it"
    );
    rig.mine(&world, 4).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    assert_eq!(world.count("select count(*) from attempts")?, 1);
    Ok(())
}

#[tokio::test]
async fn a_reorganisation_takes_legs_back_and_mints_once() -> Result<()> {
    for depth in [1, 3] {
        let world = TestEnvironment::new().await?;
        let mut rig = world.executor()?;
        let intent = world.compliant_intent(1, &rig.ctx.chain).await?;
        rig.acquire_leases().await?;
        rig.mine(&world, 3).await?;
        rig.submit(&intent).await?;
        rig.send(Command::Submit, 1).await?;
        rig.mine(&world, 1).await?;
        rig.execute(&intent).await?;
        rig.send(Command::Execute, 1).await?;
        rig.mine(&world, 1).await?;
        assert_eq!(rig.leg(&intent).await?, ChainLeg::Executed(Finality::Mined));
        rig.published_outcomes().await?;

        world.node.rpc("anvil_reorg", json!([depth, []])).await?;
        assert_eq!(
            world.minted(&rig.ctx.chain, &intent.user).await?,
            0,
            "the fork has no mint"
        );
        rig.poll().await?;
        let back = rig.leg(&intent).await?;
        assert!(
            matches!(back, ChainLeg::Submitting | ChainLeg::Executing),
            "depth {depth}: {back:?}"
        );
        let history = "select count(*) from chain_leg_history where cause like '%reorganised%'";
        assert_eq!(world.count(history)?, 1, "history says so");
        rig.mine(&world, 4).await?;
        assert_eq!(
            rig.leg(&intent).await?,
            ChainLeg::Executed(Finality::Mined),
            "depth {depth}"
        );
        rig.mine(&world, 8).await?;
        assert_eq!(rig.leg(&intent).await?, ChainLeg::Executed(Finality::Final));
        assert_eq!(
            world.minted(&rig.ctx.chain, &intent.user).await?,
            intent.amount.get()
        );
        assert_eq!(
            world.count("select count(*) from attempts")?,
            2,
            "the same bytes, nothing new"
        );
        let published_outcomes = rig.published_outcomes().await?;
        assert_eq!(
            published_outcomes
                .last()
                .map(|(_, outcome, last)| (*outcome, *last)),
            Some((Outcome::Executed, true))
        );
        assert!(
            published_outcomes
                .iter()
                .filter(|(_, outcome, _)| *outcome == Outcome::Executed)
                .count()
                == 1
        );
    }
    Ok(())
}

#[tokio::test]
async fn two_executors_on_one_key_one_works_and_the_other_waits() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let (mut first, second) = (world.executor()?, world.executor()?);
    first.acquire_leases().await?;
    assert_eq!(lease::acquire(&second.ctx, second.signer()).await?, None);
    let (old, followed) = (first.lease()?, first.following()?);
    first.submit(&world.intent(1)?).await?;

    world.expire_leases()?;
    let mut second = second;
    let new = second.acquire_leases().await?;
    assert!(new.fencing_token > old.fencing_token);
    let refused = submit::submit_batch(&first.ctx, first.signer(), &old, Command::Submit).await;
    assert!(matches!(refused, Err(WorkError::NoLease)), "{refused:?}");
    world.node.mine(1).await?;
    let refused = first.follower.poll(&first.ctx, &followed).await;
    assert!(matches!(refused, Err(WorkError::NoLease)), "{refused:?}");
    second.poll().await?;
    second.send(Command::Submit, 1).await?;
    assert_eq!(world.count("select count(*) from attempts")?, 1);
    Ok(())
}

#[tokio::test]
async fn a_signer_lease_that_another_executor_took_is_not_renewed() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let (mut first, mut second) = (world.executor()?, world.executor()?);
    first.acquire_leases().await?;
    world.expire_leases()?;
    second.acquire_leases().await?;
    lease::renew_or_acquire(&first.ctx, first.signer(), Instant::now()).await?;
    assert_eq!(first.signer().current_lease(), None);
    Ok(())
}

#[tokio::test]
async fn a_follower_lease_that_another_executor_took_is_not_renewed() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let (mut first, mut second) = (world.executor()?, world.executor()?);
    first.acquire_leases().await?;
    world.expire_leases()?;
    second.acquire_leases().await?;
    let now = Instant::now();
    lease::renew_or_acquire_follower(&first.ctx, &mut FollowerTenure::new(now), now).await?;
    assert_eq!(first.ctx.current_follower_lease(), None);
    Ok(())
}

#[tokio::test]
async fn a_nonce_used_by_a_stranger_is_found_out_and_the_work_goes_again() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    rig.use_next_nonce(&world).await?;
    rig.poll().await?;
    let lost = rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 3).await?;
    assert_eq!(
        rig.leg(&intent).await?,
        ChainLeg::Submitting,
        "not believed before that nonce is final"
    );
    assert_eq!(rig.round(Command::Submit).await?, BatchResult::Nothing);
    rig.mine(&world, 6).await?;
    let again = rig.send(Command::Submit, 1).await?;
    assert_ne!(again, lost);
    rig.mine(&world, 1).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    assert_eq!(
        world
            .db
            .sql("select string_agg(state, ' ' order by id) from attempts")?,
        "superseded mined"
    );
    Ok(())
}

#[tokio::test]
async fn a_nonce_used_by_a_stranger_holds_up_no_new_work_until_it_is_final() -> Result<()> {
    const CONFIRMATIONS: u64 = 24;
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor_with_confirmations(CONFIRMATIONS)?;
    rig.acquire_leases().await?;
    let (stolen, new) = (world.intent(1)?, world.intent(2)?);
    rig.submit(&stolen).await?;
    rig.use_next_nonce(&world).await?;
    rig.poll().await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 10).await?;
    let most = rig.ctx.tuning.max_in_flight;
    assert_eq!(
        rig.signer().in_flight_limit(most),
        most,
        "no block can be late with it"
    );

    // This holds even for a signer with an in-flight limit of one.
    rig.signer().adjust_in_flight_limit(1, false);
    rig.submit(&new).await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 1).await?;
    assert_eq!(rig.leg(&new).await?, ChainLeg::Escrowed);
    assert_eq!(
        rig.leg(&stolen).await?,
        ChainLeg::Submitting,
        "what was signed for that nonce waits until it is final"
    );
    assert_eq!(rig.round(Command::Submit).await?, BatchResult::Nothing);
    rig.mine(&world, CONFIRMATIONS).await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 1).await?;
    assert_eq!(rig.leg(&stolen).await?, ChainLeg::Escrowed);
    Ok(())
}

#[tokio::test]
async fn a_nonce_that_a_fork_gives_back_waits_for_a_block_again() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor_with_confirmations(24)?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    rig.use_next_nonce(&world).await?;
    rig.poll().await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 3).await?;
    let open = async |rig: &TestExecutor| -> Result<u64> {
        let client = rig.ctx.pool.get().await?;
        let key = rig.signer();
        Ok(attempts::open_count(&client, &key.address_bytes(), key.confirmed_nonce()).await?)
    };
    assert_eq!(open(&rig).await?, 0, "its nonce has a block");
    let high_fee = u64::try_from(rig.ctx.tuning.max_fee_per_gas)? * 2;
    world.node.rpc("anvil_reorg", json!([4, []])).await?;
    for _ in 0..3 {
        block_with_base_fee(&world, high_fee).await?;
        rig.poll().await?;
    }
    assert_eq!(open(&rig).await?, 1, "it has none any more");
    let most = rig.ctx.tuning.max_in_flight;
    assert!(rig.signer().in_flight_limit(most) < most);
    for _ in 0..4 {
        block_with_base_fee(&world, 1_000_000_000).await?;
        rig.poll().await?;
    }
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    Ok(())
}

/// A node that switches to another fork between two requests: its headers and state are of one fork, its receipts of the
/// other.
#[tokio::test]
async fn a_receipt_of_another_fork_is_no_answer() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut first = world.executor()?;
    let intent = world.compliant_intent(1, &first.ctx.chain).await?;
    first.acquire_leases().await?;
    first.deposit(&world, &intent).await?;
    first.execute(&intent).await?;
    // On this fork a foreign transaction has the nonce; on the other one our mint has it and succeeded.
    first.use_next_nonce(&world).await?;
    first.poll().await?;
    let before = first.ctx.chain.latest_header().await?.number;
    let mint = first.send(Command::Execute, 1).await?;
    let deposit = "select '0x' || encode(tx_hash, 'hex') from attempts where command = 'submit'";
    let deposit = json!([world.db.sql(deposit)?]);
    let mut receipt = world.node.rpc("eth_getTransactionReceipt", deposit).await?;
    receipt["transactionHash"] = json!(mint.to_string());
    receipt["blockHash"] = json!(format!("0x{}", "9f".repeat(32)));
    receipt["blockNumber"] = json!(format!("{:#x}", before + 3));
    drop(first);
    world.expire_leases()?;

    // The receipt's block is above the first heads, then at the head, then below it.
    let fault = Fault::Answer(Ok(receipt));
    let turning = faulty(world.node.url(), "eth_getTransactionReceipt", fault).await?;
    let mut second = world.executor_at(&turning)?;
    second.acquire_leases().await?;
    second.mine(&world, 4).await?;
    let states = "select string_agg(state, ' ' order by created_at) from work_items";
    assert_eq!(world.db.sql(states)?, "done in_attempt", "nobody's to look at");
    assert_eq!(second.leg(&intent).await?, ChainLeg::Executing);
    drop(second);
    world.expire_leases()?;

    let raw = "select '0x' || encode(raw_transaction, 'hex') from attempts where command = 'execute'";
    let fork = json!([5, [[world.db.sql(raw)?, 0]]]);
    world.node.rpc("anvil_reorg", fork).await?;
    let mut third = world.executor()?;
    third.acquire_leases().await?;
    third.mine(&world, 8).await?;
    assert_eq!(third.leg(&intent).await?, ChainLeg::Executed(Finality::Final));
    assert_eq!(
        world.minted(&third.ctx.chain, &intent.user).await?,
        intent.amount.get()
    );
    assert_eq!(world.db.sql(states)?, "done done");
    assert_eq!(world.count("select count(*) from attempts")?, 2, "the same bytes");
    Ok(())
}

#[tokio::test]
async fn a_batch_signed_while_old_blocks_are_ingested_delays_nothing() -> Result<()> {
    let mut world = TestEnvironment::new().await?;
    let mut first = world.executor()?;
    first.acquire_leases().await?;
    let intent = world.intent(1)?;
    first.submit(&intent).await?;
    first.mine(&world, 2).await?;
    world.node.mine(3).await?;
    first.send(Command::Submit, 1).await?;
    drop(first);
    world.expire_leases()?;
    world.drop_old_state().await?;

    let mut second = world.executor()?;
    second.acquire_leases().await?;
    second.mine(&world, 1).await?;
    assert_eq!(second.leg(&intent).await?, ChainLeg::Escrowed);
    Ok(())
}

#[tokio::test]
async fn a_refusal_in_a_block_whose_state_the_node_has_dropped_is_settled_by_the_logs() -> Result<()> {
    let mut world = TestEnvironment::new().await?;
    let mut first = world.executor()?;
    first.acquire_leases().await?;
    let intent = world.intent(1)?;
    first.deposit(&world, &intent).await?;
    first.execute(&intent).await?;
    first.send_unsimulated(Command::Execute, 1).await?;
    first.published_outcomes().await?;
    world.node.mine(3).await?;
    drop(first);
    world.expire_leases()?;
    world.drop_old_state().await?;

    let mut second = world.executor()?;
    second.acquire_leases().await?;
    let row = second.leg_row(&intent.intent_id()).await?;
    assert_eq!(
        (row.leg, row.reason.map(LegReason::name)),
        (ChainLeg::Escrowed, Some("not_compliant"))
    );
    assert_eq!(
        second.published_outcomes().await?,
        [(intent.intent_id(), Outcome::Refused, false)]
    );
    assert_eq!(second.round(Command::Execute).await?, BatchResult::Nothing);
    Ok(())
}

/// Mines a block with that base fee.
async fn block_with_base_fee(world: &TestEnvironment, base_fee: u64) -> Result<()> {
    let fee = json!([format!("0x{base_fee:x}")]);
    world.node.rpc("anvil_setNextBlockBaseFeePerGas", fee).await?;
    world.node.mine(1).await
}

#[tokio::test]
async fn an_underpriced_transaction_is_replaced_at_a_higher_fee_and_mints_once() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor()?;
    let intent = world.compliant_intent(1, &rig.ctx.chain).await?;
    rig.acquire_leases().await?;
    rig.deposit(&world, &intent).await?;
    rig.execute(&intent).await?;
    let cheap = rig.send(Command::Execute, 1).await?;
    for _ in 0..rig.ctx.tuning.replace_after + 3 {
        block_with_base_fee(&world, 40_000_000_000).await?;
        rig.poll().await?;
    }
    assert_eq!(
        world.count("select count(*) from attempts where command = 'execute'")?,
        2
    );
    rig.mine(&world, 1).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Executed(Finality::Mined));
    assert_eq!(
        rig.ctx.chain.receipt(cheap).await?,
        None,
        "the dearer one was taken"
    );
    assert_eq!(
        world.db.sql(
            "select string_agg(a.state, ' ' order by a.id), count(distinct a.nonce), count(distinct i.message_id) \
             from attempts a join attempt_items i on i.attempt_id = a.id where a.command = 'execute'"
        )?,
        "superseded mined|1|1"
    );
    rig.mine(&world, 8).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Executed(Finality::Final));
    assert_eq!(
        world.minted(&rig.ctx.chain, &intent.user).await?,
        intent.amount.get()
    );
    Ok(())
}

#[tokio::test]
async fn the_price_never_rises_past_the_cap_and_the_work_waits() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    rig.send(Command::Submit, 1).await?;
    let cap = u64::try_from(rig.ctx.tuning.max_fee_per_gas)?;
    for _ in 0..3 * rig.ctx.tuning.replace_after {
        block_with_base_fee(&world, cap * 2).await?;
        rig.poll().await?;
    }
    let highest = rig.highest_fee().await?;
    assert!(highest <= rig.ctx.tuning.max_fee_per_gas, "{highest}");
    assert_eq!(
        rig.leg(&intent).await?,
        ChainLeg::Submitting,
        "waits, and is not failed"
    );
    for _ in 0..4 {
        block_with_base_fee(&world, 1_000_000_000).await?;
        rig.poll().await?;
    }
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    Ok(())
}

#[tokio::test]
async fn no_batch_costs_more_than_a_node_accepts_at_any_base_fee() -> Result<()> {
    const DEPOSITS: u64 = 64;
    let world = TestEnvironment::new().await?;
    let fault = Fault::Ceiling(chain::fees::DEFAULT_TX_FEE_CAP);
    let strict = faulty(world.node.url(), "eth_sendRawTransaction", fault).await?;
    let mut rig = world.executor_at(&strict)?;
    rig.acquire_leases().await?;
    let mut intents = Vec::new();
    for n in 0..DEPOSITS {
        intents.push(world.intent(n)?);
        rig.submit(&intents[intents.len() - 1]).await?;
    }
    block_with_base_fee(&world, 60_000_000_000).await?;
    rig.poll().await?;
    let mut sent = 0;
    while let BatchResult::Attempt { items, .. } = rig.round(Command::Submit).await? {
        sent += items;
    }
    assert_eq!(sent, intents.len());
    rig.mine(&world, 2).await?;
    for intent in &intents {
        assert_eq!(rig.leg(intent).await?, ChainLeg::Escrowed);
    }
    Ok(())
}

#[tokio::test]
async fn unsigned_work_above_the_fee_cap_waits_and_the_metric_shows_it() -> Result<()> {
    let shown = runtime::metrics::install()?;
    let capped = || {
        let text = shown.render();
        let mut lines = text.lines();
        let line = lines.find(|line| line.starts_with("fiatrails_fee_cap_reached"));
        line.is_some_and(|line| line.ends_with(" 1"))
    };
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor()?;
    rig.acquire_leases().await?;
    let halts = Halts::default();
    halts.refresh(&rig.ctx.pool).await?;
    let mut lane = CommandQueue::new(&rig.ctx, &rig.ctx.signers[0], Command::Submit, &halts);
    let cap = u64::try_from(rig.ctx.tuning.max_fee_per_gas)?;
    block_with_base_fee(&world, cap * 2).await?;
    rig.poll().await?;
    lane.submit_ready(&rig.ctx).await?;
    assert!(!capped(), "there is no work");
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    lane.submit_ready(&rig.ctx).await?;
    assert!(capped());
    assert!(
        !rig.signer()
            .set_waits_for_fees(FeeCapWait::Batch(Command::Submit), true),
        "told once"
    );
    // The next holder of the lease sets the metric.
    let lease = rig.lease()?;
    rig.signer().drop_lease();
    lane.submit_ready(&rig.ctx).await?;
    assert!(!capped(), "another's key");
    rig.signer().lease.send_replace(Some(lease));
    lane.submit_ready(&rig.ctx).await?;
    assert!(capped());
    assert_eq!(world.count("select count(*) from attempts")?, 0);

    block_with_base_fee(&world, 1_000_000_000).await?;
    rig.poll().await?;
    lane.submit_ready(&rig.ctx).await?;
    assert!(!capped());
    assert_eq!(world.count("select count(*) from attempts")?, 1);
    Ok(())
}

#[tokio::test]
async fn a_nonce_that_a_fork_took_back_from_a_stranger_is_filled() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor()?;
    rig.acquire_leases().await?;
    rig.mine(&world, 2).await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    rig.use_next_nonce(&world).await?;
    // Ingest the foreign transaction's nonce and continue after it.
    rig.poll().await?;
    world.db.sql("update signers set next_nonce = next_nonce + 1")?;
    world.node.rpc("anvil_reorg", json!([1, []])).await?;
    rig.poll().await?;
    assert_eq!(
        rig.ctx.head.borrow().map(|head| head.number),
        None,
        "nothing is built on an abandoned block"
    );
    rig.poll().await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 7).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    assert_eq!(
        world
            .db
            .sql("select string_agg(command || ' ' || state, ', ' order by nonce) from attempts")?,
        "fill_gap mined, submit mined"
    );
    Ok(())
}

#[tokio::test]
async fn a_refused_deposit_fails_though_the_state_of_its_final_block_is_gone() -> Result<()> {
    let mut world = TestEnvironment::new().await?;
    let mut first = world.executor()?;
    first.acquire_leases().await?;
    // The amount is below the contract's minimum.
    let intent = domain::ids::Preimage {
        amount: domain::money::BaseUnits::new(1),
        ..world.intent(1)?
    };
    first.submit(&intent).await?;
    first.send_unsimulated(Command::Submit, 1).await?;
    first.mine(&world, 1).await?;
    world.node.mine(12).await?;
    drop(first);
    world.expire_leases()?;
    world.drop_old_state().await?;

    let mut second = world.executor()?;
    second.acquire_leases().await?;
    assert_eq!(second.leg(&intent).await?, ChainLeg::Rejected);
    Ok(())
}

#[tokio::test]
async fn a_tip_abandoned_long_ago_is_rewound_from_stored_events() -> Result<()> {
    let mut world = TestEnvironment::new().await?;
    let mut first = world.executor()?;
    first.acquire_leases().await?;
    first.mine(&world, 2).await?;
    let intent = world.intent(1)?;
    first.deposit(&world, &intent).await?;
    assert_eq!(first.leg(&intent).await?, ChainLeg::Escrowed);
    world.node.rpc("anvil_reorg", json!([1, []])).await?;
    world.node.mine(3).await?;
    drop(first);
    world.expire_leases()?;
    world.drop_old_state().await?;

    let mut second = world.executor()?;
    second.acquire_leases().await?;
    second.poll().await?;
    assert_eq!(second.leg(&intent).await?, ChainLeg::Submitting);
    second.mine(&world, 4).await?;
    assert_eq!(second.leg(&intent).await?, ChainLeg::Escrowed);
    assert_eq!(world.count("select count(*) from attempts")?, 1, "the same bytes");
    Ok(())
}

#[tokio::test]
async fn a_deposit_refused_in_a_block_that_is_not_final_is_not_given_up_with_the_window() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    world.as_admin(&rig.ctx.chain, &PAUSE).await?;
    rig.poll().await?;
    let almost_over = SystemSource.unix_seconds() - 3597;
    rig.submit_accepted(&intent, almost_over).await?;
    rig.send_unsimulated(Command::Submit, 1).await?;
    rig.mine(&world, 1).await?;
    let over = || async { Ok((SystemSource.unix_seconds() > almost_over + 3601).then_some(())) };
    testkit::eventually(std::time::Duration::from_secs(10), "the window is over", over).await?;
    assert_eq!(rig.round(Command::Submit).await?, BatchResult::WithoutAttempt);
    assert_eq!(
        rig.leg(&intent).await?,
        ChainLeg::Submitting,
        "a fork may still bring the deposit"
    );
    rig.mine(&world, 7).await?;
    let settled = async || {
        rig.round(Command::Submit).await?;
        Ok((rig.leg(&intent).await? == ChainLeg::Rejected).then_some(()))
    };
    testkit::eventually(
        std::time::Duration::from_secs(10),
        "given up once it is final",
        settled,
    )
    .await?;
    Ok(())
}

#[tokio::test]
async fn what_the_chain_itself_calls_final_is_final() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor_with_finalized_tag()?;
    let intent = world.compliant_intent(1, &rig.ctx.chain).await?;
    rig.acquire_leases().await?;
    rig.deposit(&world, &intent).await?;
    rig.execute(&intent).await?;
    rig.send(Command::Execute, 1).await?;
    rig.mine(&world, 1).await?;
    let mined = rig.leg_row(&intent.intent_id()).await?.block_number;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Executed(Finality::Mined));
    for _ in 0..6 {
        let published_outcomes = rig
            .ctx
            .chain
            .finalized_header()
            .await?
            .map(|header| header.number);
        if published_outcomes >= mined {
            break;
        }
        assert_eq!(
            rig.leg(&intent).await?,
            ChainLeg::Executed(Finality::Mined),
            "{published_outcomes:?}"
        );
        rig.mine(&world, 1).await?;
    }
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Executed(Finality::Final));
    let depth = world.count("select max(number) from blocks")? - mined.unwrap_or_default();
    assert!(depth < 6, "sooner than by depth: {depth}");
    Ok(())
}

#[tokio::test]
async fn a_slow_chain_lowers_the_in_flight_limit() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor()?;
    rig.acquire_leases().await?;
    let (first, second) = (world.intent(1)?, world.intent(2)?);
    rig.submit(&first).await?;
    rig.send(Command::Submit, 1).await?;
    let high_fee = u64::try_from(rig.ctx.tuning.max_fee_per_gas)? * 2;
    for _ in 0..9 {
        block_with_base_fee(&world, high_fee).await?;
        rig.poll().await?;
    }
    rig.submit(&second).await?;
    block_with_base_fee(&world, 1_000_000_000).await?;
    rig.poll().await?;
    assert_eq!(
        rig.round(Command::Submit).await?,
        BatchResult::Nothing,
        "one is under way, and one is what may be"
    );
    for _ in 0..3 {
        block_with_base_fee(&world, 1_000_000_000).await?;
        rig.poll().await?;
    }
    assert_eq!(rig.leg(&first).await?, ChainLeg::Escrowed);
    rig.send(Command::Submit, 1).await?;
    Ok(())
}
