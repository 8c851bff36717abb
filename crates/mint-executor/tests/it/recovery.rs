//! Crashes, lost answers and forks.

use anyhow::Result;
use domain::command::Command;
use domain::intent::{ChainLeg, Finality};
use domain::item_result::LegReason;
use messaging::wire::Outcome;
use mint_executor::steps::{BatchResult, WorkError};
use serde_json::json;
use testkit::ChaosProxy;
use tokio::time::Instant;

use crate::faulty::{Fault, faulty};
use crate::world::TestEnvironment;

#[tokio::test]
async fn a_crash_between_commit_and_broadcast_sends_the_same_bytes_after_the_restart() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut first = world.executor().build()?;
    first.acquire_leases().await?;
    let intent = world.intent(1)?;
    first.submit(&intent).await?;
    let head = first.chain.latest_header().await?;
    let built = first.store_unsimulated(Command::Submit, &head).await?;
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

    let mut second = world.executor().build()?;
    second.acquire_leases().await?;
    assert_eq!(
        second.round(Command::Submit).await?,
        BatchResult::Nothing,
        "nothing is signed twice"
    );
    world.node.mine(1).await?;
    second.poll().await?;
    let receipt = second.chain.receipt(signed.hash).await?;
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
    let mut rig = world
        .executor()
        .node(&proxy.through(&world.node.url())?)
        .build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    let head = rig.chain.latest_header().await?;
    let built = rig.store_unsimulated(Command::Submit, &head).await?;
    let BatchResult::Attempt { id, signed, .. } = built else {
        panic!("{built:?}")
    };
    proxy.cut();
    rig.steps
        .step_broadcast(id, &rig.signer().address_bytes(), &signed)
        .await;
    assert_eq!(
        rig.leg(&intent).await?,
        ChainLeg::Submitting,
        "nothing is believed lost"
    );
    proxy.resume();
    rig.mine(&world, 1).await?;
    assert_eq!(
        rig.chain.receipt(signed.hash).await?,
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
        let mut rig = world.executor().build()?;
        let intent = world.compliant_intent(1, &rig.chain).await?;
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
            world.minted(&rig.chain, &intent.user).await?,
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
        assert_eq!(world.minted(&rig.chain, &intent.user).await?, intent.amount.get());
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
        let executed = |(_, outcome, _): &&(_, Outcome, _)| *outcome == Outcome::Executed;
        assert_eq!(published_outcomes.iter().filter(executed).count(), 1);
    }
    Ok(())
}

#[tokio::test]
async fn two_executors_on_one_key_one_works_and_the_other_waits() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let (mut first, second) = (world.executor().build()?, world.executor().build()?);
    first.acquire_leases().await?;
    assert_eq!(second.steps.acquire_lease(second.signer()).await?, None);
    let (old, followed) = (first.lease()?, first.following()?);
    first.submit(&world.intent(1)?).await?;

    world.expire_leases()?;
    let mut second = second;
    let new = second.acquire_leases().await?;
    assert!(new.fencing_token > old.fencing_token);
    let refused = first.steps.step_sign(first.signer(), &old, Command::Submit).await;
    assert!(matches!(refused, Err(WorkError::NoLease)), "{refused:?}");
    world.node.mine(1).await?;
    let refused = first.steps.step_block(&followed).await;
    assert!(matches!(refused, Err(WorkError::NoLease)), "{refused:?}");
    second.poll().await?;
    second.send(Command::Submit, 1).await?;
    assert_eq!(world.count("select count(*) from attempts")?, 1);
    Ok(())
}

#[tokio::test]
async fn a_signer_lease_that_another_executor_took_is_not_renewed() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let (mut first, mut second) = (world.executor().build()?, world.executor().build()?);
    first.acquire_leases().await?;
    world.expire_leases()?;
    second.acquire_leases().await?;
    first
        .steps
        .step_signer_lease(first.signer(), Instant::now())
        .await?;
    assert_eq!(first.signer().current_lease(), None);
    Ok(())
}

#[tokio::test]
async fn a_follower_lease_that_another_executor_took_is_not_renewed() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let (mut first, mut second) = (world.executor().build()?, world.executor().build()?);
    first.acquire_leases().await?;
    world.expire_leases()?;
    second.acquire_leases().await?;
    let now = Instant::now();
    first.steps.step_follower_lease(now).await?;
    assert_eq!(first.steps.view.follower_lease(), None);
    Ok(())
}

/// A node that switches to another fork between two requests: its headers and state are of one fork, its receipts of the
/// other.
#[tokio::test]
async fn a_receipt_of_another_fork_is_no_answer() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut first = world.executor().build()?;
    let intent = world.compliant_intent(1, &first.chain).await?;
    first.acquire_leases().await?;
    first.deposit(&world, &intent).await?;
    first.execute(&intent).await?;
    // On this fork a foreign transaction has the nonce; on the other one our mint has it and succeeded.
    first.use_next_nonce(&world).await?;
    first.poll().await?;
    let before = first.chain.latest_header().await?.number;
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
    let mut second = world.executor().node(&turning).build()?;
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
    let mut third = world.executor().build()?;
    third.acquire_leases().await?;
    third.mine(&world, 8).await?;
    assert_eq!(third.leg(&intent).await?, ChainLeg::Executed(Finality::Final));
    assert_eq!(
        world.minted(&third.chain, &intent.user).await?,
        intent.amount.get()
    );
    assert_eq!(world.db.sql(states)?, "done done");
    assert_eq!(world.count("select count(*) from attempts")?, 2, "the same bytes");
    Ok(())
}

#[tokio::test]
async fn a_batch_signed_while_old_blocks_are_ingested_delays_nothing() -> Result<()> {
    let mut world = TestEnvironment::new().await?;
    let mut first = world.executor().build()?;
    first.acquire_leases().await?;
    let intent = world.intent(1)?;
    first.submit(&intent).await?;
    first.mine(&world, 2).await?;
    world.node.mine(3).await?;
    first.send(Command::Submit, 1).await?;
    drop(first);
    world.expire_leases()?;
    world.drop_old_state().await?;

    let mut second = world.executor().build()?;
    second.acquire_leases().await?;
    second.mine(&world, 1).await?;
    assert_eq!(second.leg(&intent).await?, ChainLeg::Escrowed);
    Ok(())
}

#[tokio::test]
async fn a_refusal_in_a_block_whose_state_the_node_has_dropped_is_settled_by_the_logs() -> Result<()> {
    let mut world = TestEnvironment::new().await?;
    let mut first = world.executor().build()?;
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

    let mut second = world.executor().build()?;
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

#[tokio::test]
async fn a_tip_abandoned_long_ago_is_rewound_from_stored_events() -> Result<()> {
    let mut world = TestEnvironment::new().await?;
    let mut first = world.executor().build()?;
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

    let mut second = world.executor().build()?;
    second.acquire_leases().await?;
    second.poll().await?;
    assert_eq!(second.leg(&intent).await?, ChainLeg::Submitting);
    second.mine(&world, 4).await?;
    assert_eq!(second.leg(&intent).await?, ChainLeg::Escrowed);
    assert_eq!(world.count("select count(*) from attempts")?, 1, "the same bytes");
    Ok(())
}
