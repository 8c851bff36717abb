//! Several nodes: one that stalls, follows another chain or lost its data is neither followed nor believed.

use std::time::Duration;

use anyhow::Result;
use chain::EndpointStatus;
use domain::command::Command;
use domain::ids::Preimage;
use domain::intent::ChainLeg;
use mint_executor::steps::ExecutorProblem;
use runtime::Stop;
use serde_json::Value;
use testkit::Anvil;
use testkit::anvil::Mining;

use crate::faulty::{EVERYTHING, Fault, faulty};
use crate::rig::TestExecutor;
use crate::world::TestEnvironment;

#[tokio::test]
async fn a_stalled_node_is_skipped_and_nothing_is_sent_twice() -> Result<()> {
    let world = TestEnvironment::new().await?;
    // The same chain, on which nothing is mined.
    let (frozen, _) = Anvil::deployed(Mining::Manual).await?;
    let mut rig = world
        .executor()
        .nodes(&[frozen.url(), world.node.url()])
        .build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    let sent = rig.send(Command::Submit, 1).await?;
    world.node.mine(4).await?;
    rig.poll().await?;
    let before = rig.head();
    assert_eq!(
        rig.steps.compare_endpoints().await?,
        [EndpointStatus::Behind, EndpointStatus::InSync]
    );
    rig.poll().await?;
    let after = rig.head();
    assert!(
        after.map(|head| head.number) > before.map(|head| head.number),
        "the advancing node is followed"
    );
    rig.mine(&world, 3).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    assert!(rig.chain.receipt(sent).await?.is_some(), "the same bytes");
    assert_eq!(world.count("select count(*) from attempts")?, 1);

    frozen.mine(5).await?;
    world.node.mine(1).await?;
    rig.poll().await?;
    // It advanced on its own, so it follows another chain now.
    assert_eq!(
        rig.steps.compare_endpoints().await?,
        [EndpointStatus::OtherChain, EndpointStatus::InSync]
    );
    Ok(())
}

#[tokio::test]
async fn a_proxy_without_backends_is_skipped_for_the_endpoint_that_answers() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let gone = Fault::Error(-32603, "no available upstream");
    let front = faulty(world.node.url(), EVERYTHING, gone).await?;
    let mut rig = world.executor().nodes(&[front, world.node.url()]).build()?;
    rig.acquire_leases().await?;
    assert!(rig.head().is_some(), "before anybody compared them");
    assert_eq!(
        rig.steps.compare_endpoints().await?,
        [EndpointStatus::Behind, EndpointStatus::InSync]
    );
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 9).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    Ok(())
}

#[tokio::test]
async fn a_node_without_receipts_causes_no_second_submission() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let no_receipt = Fault::Answer(Ok(Value::Null));
    let blind = faulty(world.node.url(), "eth_getTransactionReceipt", no_receipt).await?;
    let mut rig = world.executor().nodes(&[blind, world.node.url()]).build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    // It reverted as a whole and has no log, so only its receipt shows the result.
    let (signer, seeing) = (rig.signer().address(), world.executor().build()?.chain.clone());
    world.set_role(&seeing, &signer, false).await?;
    rig.poll().await?;
    rig.send_unsimulated(Command::Submit, 1).await?;
    rig.mine(&world, 9).await?;
    assert_eq!(
        world.db.sql("select outcome from attempt_items")?,
        "unauthorized",
        "the other node has the receipt"
    );
    assert_eq!(world.db.sql("select state from attempts")?, "final");
    Ok(())
}

#[tokio::test]
async fn a_block_missing_from_a_node_is_an_error_that_names_it() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let missing = testkit::evm::block_number(&world.node.url()).await? + 1;
    let hole = Fault::Hole(format!("{missing:#x}"));
    let holed = faulty(world.node.url(), "eth_getBlockByNumber", hole).await?;
    let mut rig = world.executor().node(&holed).build()?;
    rig.acquire_leases().await?;
    world.node.mine(2).await?;
    let error = rig.poll().await.err().map(|error| error.to_string());
    assert!(
        error
            .as_ref()
            .is_some_and(|error| error.contains(&format!("no block {missing}"))),
        "{error:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_node_that_cannot_give_a_receipt_delays_no_block() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let indexing = Fault::Answer(Err("transaction indexing is in progress"));
    let busy = faulty(world.node.url(), "eth_getTransactionReceipt", indexing).await?;
    let mut rig = world.executor().nodes(&[world.node.url(), busy]).build()?;
    rig.acquire_leases().await?;
    let (lost, other) = (world.intent(1)?, world.intent(2)?);
    rig.submit(&lost).await?;
    rig.use_next_nonce(&world).await?;
    rig.poll().await?;
    rig.send(Command::Submit, 1).await?;
    rig.submit(&other).await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 9).await?;
    assert_eq!(
        rig.leg(&lost).await?,
        ChainLeg::Submitting,
        "one of two endpoints cannot confirm that the nonce is lost"
    );
    assert_eq!(rig.leg(&other).await?, ChainLeg::Escrowed, "the rest goes on");
    Ok(())
}

/// Sends a deposit that reverts as a whole: it has a receipt, and no log.
async fn deposit_without_the_role(world: &TestEnvironment, rig: &mut TestExecutor) -> Result<Preimage> {
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    let good = world.executor().build()?;
    world
        .set_role(&good.chain, &rig.signer().address(), false)
        .await?;
    rig.poll().await?;
    rig.send_unsimulated(Command::Submit, 1).await?;
    Ok(intent)
}

#[tokio::test]
async fn a_node_that_cannot_read_a_role_delays_no_block() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let slow = Fault::Answer(Err("execution aborted (timeout = 5s)"));
    let slow = faulty(world.node.url(), "eth_call", slow).await?;
    let mut rig = world.executor().node(&slow).build()?;
    let intent = deposit_without_the_role(&world, &mut rig).await?;
    rig.mine(&world, 4).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Submitting);
    assert_eq!(
        world.count("select count(*) from attempt_items where outcome is null")?,
        1,
        "whether it was refused because of its signer or of its item is open"
    );
    Ok(())
}

#[tokio::test]
async fn a_node_silent_about_receipts_delays_neither_blocks_nor_other_answers() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let silent = faulty(world.node.url(), "eth_getTransactionReceipt", Fault::Silence).await?;
    let mut rig = world
        .executor()
        .nodes(&[silent, world.node.url()])
        .timeout(Duration::from_mins(1))
        .build()?;
    deposit_without_the_role(&world, &mut rig).await?;
    tokio::time::timeout(Duration::from_secs(30), rig.mine(&world, 4)).await??;
    assert_eq!(world.db.sql("select outcome from attempt_items")?, "unauthorized");
    Ok(())
}

#[tokio::test]
async fn a_node_that_lost_its_state_stops_nothing_while_another_has_it() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let lost = Fault::Answer(Err("missing trie node 0a (path ) state is not available"));
    let lost = faulty(world.node.url(), "eth_call", lost).await?;
    let mut rig = world.executor().nodes(&[lost, world.node.url()]).build()?;
    rig.acquire_leases().await?;
    // The amount is below the contract's minimum: a block refuses it, and its record is read once that block is final.
    let refused = Preimage {
        amount: domain::money::BaseUnits::new(1),
        ..world.intent(1)?
    };
    rig.submit(&refused).await?;
    rig.send_unsimulated(Command::Submit, 1).await?;
    rig.mine(&world, 9).await?;
    assert_eq!(rig.leg(&refused).await?, ChainLeg::Rejected);
    let other = world.intent(2)?;
    rig.submit(&other).await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 1).await?;
    assert_eq!(rig.leg(&other).await?, ChainLeg::Escrowed);
    Ok(())
}

#[tokio::test]
async fn a_node_that_accepts_no_transaction_delays_no_block() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut first = world.executor().build()?;
    first.acquire_leases().await?;
    for n in 1..=4 {
        first.submit(&world.intent(n)?).await?;
        first.send(Command::Submit, 1).await?;
    }
    drop(first);
    world.expire_leases()?;
    world.db.sql("update attempts set last_broadcast_at = null")?;
    let deaf = faulty(world.node.url(), "eth_sendRawTransaction", Fault::Silence).await?;
    let mut rig = world
        .executor()
        .nodes(&[deaf])
        .timeout(Duration::from_secs(20))
        .build()?;
    // It sends each again, because no row says whether they were sent.
    tokio::time::timeout(Duration::from_secs(15), rig.acquire_leases()).await??;
    assert_eq!(
        world.count("select count(last_broadcast_at) from attempts")?,
        0,
        "no send has ended yet"
    );
    tokio::time::timeout(Duration::from_secs(5), rig.mine(&world, 1)).await??;
    for n in 1..=4 {
        assert_eq!(rig.leg(&world.intent(n)?).await?, ChainLeg::Escrowed);
    }
    Ok(())
}

#[tokio::test]
async fn a_block_unknown_to_a_node_is_not_a_fork() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut first = world.executor().build()?;
    first.acquire_leases().await?;
    first.mine(&world, 4).await?;
    drop(first);
    world.expire_leases()?;
    let head = testkit::evm::block_number(&world.node.url()).await?;
    world.node.rpc("anvil_reorg", serde_json::json!([1, []])).await?;
    let hole = Fault::Hole(format!("{:#x}", head - 1));
    let holed = faulty(world.node.url(), "eth_getBlockByNumber", hole).await?;
    let mut rig = world.executor().node(&holed).build()?;
    let error = rig.acquire_leases().await.err().map(|error| error.to_string());
    assert!(
        error
            .as_ref()
            .is_some_and(|error| error.contains(&format!("no block {}", head - 1))),
        "{error:?}"
    );
    assert_eq!(
        world.count("select max(number) from blocks")?,
        head,
        "the blocks that we know stay until a fork is certain"
    );
    Ok(())
}

#[tokio::test]
async fn another_chain_stops_everything_until_it_is_ours_again() -> Result<()> {
    let world = TestEnvironment::new().await?;
    world.node.mine(80).await?;
    let mut ours = world.executor().build()?;
    ours.acquire_leases().await?;
    let (other, _) = Anvil::deployed(Mining::Manual).await?;
    other.rpc("evm_increaseTime", serde_json::json!([1000])).await?;
    other.mine(90).await?;
    assert!(ours.steps.has_our_blocks().await?);
    world.expire_leases()?;

    let mut strange = world.executor().node(&other.url()).build()?;
    let error = strange
        .acquire_leases()
        .await
        .err()
        .map(|error| error.to_string());
    assert!(
        error
            .as_ref()
            .is_some_and(|error| error.contains("goes deeper than block")),
        "{error:?}"
    );
    assert!(!strange.steps.has_our_blocks().await?);

    let published_outcomes = Some(ExecutorProblem::OtherChain("told".into()));
    let stop = Stop::new();
    for (rig, left) in [(&ours, None), (&strange, published_outcomes.clone())] {
        rig.steps.gates.set_problem(published_outcomes.as_ref());
        let asked = rig.chain.latest_header().await?.number;
        assert!(asked > 0);
        let confirming = tokio::spawn(rig.steps.following(stop.clone()));
        let mut problem = rig.steps.gates.problems();
        let cleared = problem.wait_for(Option::is_none);
        let cleared = tokio::time::timeout(Duration::from_secs(2), cleared)
            .await
            .is_ok();
        assert_eq!(cleared, left.is_none());
        confirming.abort();
    }
    Ok(())
}

#[tokio::test]
async fn a_standby_sends_its_node_no_request_until_the_lease_is_free() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut first = world.executor().build()?;
    first.acquire_leases().await?;
    let standby = world.executor().node("http://127.0.0.1:1").build()?;
    assert_eq!(standby.steps.acquire_lease(standby.signer()).await?, None);
    world.expire_leases()?;
    assert!(standby.steps.acquire_lease(standby.signer()).await.is_err());
    Ok(())
}
