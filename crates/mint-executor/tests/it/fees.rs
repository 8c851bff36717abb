//! What a transaction may cost, and how many may wait for a block.

use anyhow::Result;
use domain::command::Command;
use domain::intent::{ChainLeg, Finality};
use mint_executor::steps::{BatchResult, FeeCapWait};

use crate::faulty::{Fault, faulty};
use crate::world::TestEnvironment;

#[tokio::test]
async fn an_underpriced_transaction_is_replaced_at_a_higher_fee_and_mints_once() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    let intent = world.compliant_intent(1, &rig.chain).await?;
    rig.acquire_leases().await?;
    rig.deposit(&world, &intent).await?;
    rig.execute(&intent).await?;
    let cheap = rig.send(Command::Execute, 1).await?;
    for _ in 0..rig.tuning.replace_after + 3 {
        world.block_with_base_fee(40_000_000_000).await?;
        rig.poll().await?;
    }
    assert_eq!(
        world.count("select count(*) from attempts where command = 'execute'")?,
        2
    );
    rig.mine(&world, 1).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Executed(Finality::Mined));
    assert_eq!(rig.chain.receipt(cheap).await?, None, "the dearer one was taken");
    assert_eq!(
        world.db.sql(
            "select string_agg(a.state, ' ' order by a.id), count(distinct a.nonce), count(distinct i.message_id) \
             from attempts a join attempt_items i on i.attempt_id = a.id where a.command = 'execute'"
        )?,
        "superseded mined|1|1"
    );
    rig.mine(&world, 8).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Executed(Finality::Final));
    assert_eq!(world.minted(&rig.chain, &intent.user).await?, intent.amount.get());
    Ok(())
}

#[tokio::test]
async fn the_price_never_rises_past_the_cap_and_the_work_waits() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    rig.send(Command::Submit, 1).await?;
    let cap = u64::try_from(rig.tuning.max_fee_per_gas)?;
    for _ in 0..3 * rig.tuning.replace_after {
        world.block_with_base_fee(cap * 2).await?;
        rig.poll().await?;
    }
    let highest = rig.highest_fee().await?;
    assert!(highest <= rig.tuning.max_fee_per_gas, "{highest}");
    assert_eq!(
        rig.leg(&intent).await?,
        ChainLeg::Submitting,
        "waits, and is not failed"
    );
    for _ in 0..4 {
        world.block_with_base_fee(1_000_000_000).await?;
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
    let mut rig = world.executor().node(&strict).build()?;
    rig.acquire_leases().await?;
    let mut intents = Vec::new();
    for n in 0..DEPOSITS {
        intents.push(world.intent(n)?);
        rig.submit(&intents[intents.len() - 1]).await?;
    }
    world.block_with_base_fee(60_000_000_000).await?;
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
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    rig.halts.refresh(&rig.pool).await?;
    let mut lane = rig.steps.command_queue(rig.key(0), Command::Submit);
    let cap = u64::try_from(rig.tuning.max_fee_per_gas)?;
    world.block_with_base_fee(cap * 2).await?;
    rig.poll().await?;
    lane.submit_ready().await?;
    assert!(!capped(), "there is no work");
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    lane.submit_ready().await?;
    assert!(capped());
    assert!(
        !rig.signer()
            .set_waits_for_fees(FeeCapWait::Batch(Command::Submit), true),
        "told once"
    );
    // The next holder of the lease sets the metric.
    let lease = rig.lease()?;
    rig.signer().drop_lease();
    lane.submit_ready().await?;
    assert!(!capped(), "another's key");
    rig.signer().hold_lease(lease);
    lane.submit_ready().await?;
    assert!(capped());
    assert_eq!(world.count("select count(*) from attempts")?, 0);

    world.block_with_base_fee(1_000_000_000).await?;
    rig.poll().await?;
    lane.submit_ready().await?;
    assert!(!capped());
    assert_eq!(world.count("select count(*) from attempts")?, 1);
    Ok(())
}

#[tokio::test]
async fn a_slow_chain_lowers_the_in_flight_limit() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let (first, second) = (world.intent(1)?, world.intent(2)?);
    rig.submit(&first).await?;
    rig.send(Command::Submit, 1).await?;
    let high_fee = u64::try_from(rig.tuning.max_fee_per_gas)? * 2;
    for _ in 0..9 {
        world.block_with_base_fee(high_fee).await?;
        rig.poll().await?;
    }
    rig.submit(&second).await?;
    world.block_with_base_fee(1_000_000_000).await?;
    rig.poll().await?;
    assert_eq!(
        rig.round(Command::Submit).await?,
        BatchResult::Nothing,
        "one is under way, and one is what may be"
    );
    for _ in 0..3 {
        world.block_with_base_fee(1_000_000_000).await?;
        rig.poll().await?;
    }
    assert_eq!(rig.leg(&first).await?, ChainLeg::Escrowed);
    rig.send(Command::Submit, 1).await?;
    Ok(())
}
