//! Simulation finds what the chain would refuse before anything is signed.

use std::time::{Duration, Instant};

use anyhow::Result;
use domain::command::Command;
use domain::ids::Preimage;
use domain::intent::{ChainLeg, Finality};
use domain::item_result::LegReason;
use domain::money::BaseUnits;
use messaging::wire::Outcome;
use mint_executor::steps::BatchResult;
use testkit::Anvil;
use testkit::anvil::Mining;

use crate::faulty::{Fault, faulty};
use crate::rig::TestExecutor;
use crate::world::{PAUSE, TestEnvironment, UNPAUSE};

#[tokio::test]
async fn a_deposit_that_would_fail_costs_no_gas_and_the_rest_of_its_batch_is_sent() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    rig.mine(&world, 7).await?;
    let (good, other) = (world.intent(1)?, world.intent(2)?);
    // The amount is below the contract's minimum.
    let poison = Preimage {
        amount: BaseUnits::new(1),
        ..world.intent(3)?
    };
    for intent in [&good, &poison, &other] {
        rig.submit(intent).await?;
    }
    rig.send(Command::Submit, 2).await?;
    let row = rig.leg_row(&poison.intent_id()).await?;
    assert_eq!(
        (row.leg, row.reason.map(LegReason::name)),
        (ChainLeg::Rejected, Some("invalid_amount")),
        "a final block would refuse it too, and nothing was sent"
    );
    assert_eq!(
        rig.published_outcomes().await?,
        [(poison.intent_id(), Outcome::Rejected, true)]
    );
    rig.mine(&world, 1).await?;
    for intent in [&good, &other] {
        assert_eq!(rig.leg(intent).await?, ChainLeg::Escrowed);
    }
    assert_eq!(world.count("select count(*) from attempts")?, 1);
    assert_eq!(world.count("select count(*) from attempt_items")?, 2);
    Ok(())
}

#[tokio::test]
async fn a_mint_for_a_user_who_is_not_compliant_is_refused_without_a_transaction() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    let good = world.compliant_intent(2, &rig.chain).await?;
    rig.acquire_leases().await?;
    rig.mine(&world, 7).await?;
    let bad = world.intent(1)?;
    for intent in [&bad, &good] {
        rig.submit(intent).await?;
    }
    rig.send(Command::Submit, 2).await?;
    rig.mine(&world, 1).await?;
    rig.published_outcomes().await?;
    for intent in [&bad, &good] {
        rig.execute(intent).await?;
    }
    rig.send(Command::Execute, 1).await?;
    assert_eq!(
        rig.published_outcomes().await?,
        [],
        "the head alone refuses nobody"
    );
    rig.mine(&world, 6).await?;
    world.end_item_delays()?;
    assert_eq!(rig.round(Command::Execute).await?, BatchResult::WithoutAttempt);
    assert_eq!(
        rig.published_outcomes().await?,
        [(bad.intent_id(), Outcome::Refused, false)]
    );
    let row = rig.leg_row(&bad.intent_id()).await?;
    assert_eq!(
        (row.leg, row.reason.map(LegReason::name)),
        (ChainLeg::Escrowed, Some("not_compliant"))
    );
    assert_eq!(rig.leg(&good).await?, ChainLeg::Executed(Finality::Mined));
    assert_eq!(world.count("select count(*) from attempts")?, 2);
    rig.refund(&bad).await?;
    rig.send(Command::Refund, 1).await?;
    rig.mine(&world, 1).await?;
    assert_eq!(rig.leg(&bad).await?, ChainLeg::Refunded(Finality::Mined));
    Ok(())
}

#[tokio::test]
async fn a_pause_opens_the_breaker_before_anything_is_sent() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    world.as_admin(&rig.chain, &PAUSE).await?;
    rig.poll().await?;
    assert_eq!(rig.round(Command::Submit).await?, BatchResult::WithoutAttempt);
    assert!(rig.is_blocked(Command::Submit) && !rig.is_blocked(Command::Execute));
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Queued);
    assert_eq!(world.count("select count(*) from attempts")?, 0);
    world.as_admin(&rig.chain, &UNPAUSE).await?;
    rig.poll().await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 1).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    Ok(())
}

#[tokio::test]
async fn a_deposit_already_on_chain_is_not_sent_again() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.deposit(&world, &intent).await?;
    rig.mine(&world, 6).await?;
    // As after a restore from an old backup: the row does not include the deposit.
    world
        .db
        .sql("update chain_legs set leg = 'queued', signer = null")?;
    world.db.sql("delete from attempt_items")?;
    rig.submit(&intent).await?;
    assert_eq!(rig.round(Command::Submit).await?, BatchResult::WithoutAttempt);
    assert_eq!(
        rig.leg(&intent).await?,
        ChainLeg::Escrowed,
        "storage on chain says so"
    );
    assert_eq!(world.count("select count(*) from attempts")?, 1);
    Ok(())
}

#[tokio::test]
async fn a_permanent_refusal_at_the_head_waits_for_a_final_block() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    rig.mine(&world, 7).await?;
    // Twenty of the largest mints of one user reach the contract's daily limit.
    let largest = |n: u64| -> Result<Preimage> {
        Ok(Preimage {
            amount: "1000000000000000000000".parse()?,
            tx_ref: format!("LARGE{n}").parse()?,
            ..world.intent(1)?
        })
    };
    for n in 0..20 {
        rig.submit(&largest(n)?).await?;
    }
    rig.send(Command::Submit, 20).await?;
    rig.mine(&world, 1).await?;
    let over = largest(20)?;
    rig.submit(&over).await?;
    assert_eq!(rig.round(Command::Submit).await?, BatchResult::WithoutAttempt);
    assert_eq!(
        rig.leg(&over).await?,
        ChainLeg::Queued,
        "a fork may still make room"
    );
    rig.mine(&world, 6).await?;
    world.end_item_delays()?;
    assert_eq!(rig.round(Command::Submit).await?, BatchResult::WithoutAttempt);
    let row = rig.leg_row(&over.intent_id()).await?;
    assert_eq!(
        (row.leg, row.reason.map(LegReason::name)),
        (ChainLeg::Rejected, Some("daily_limit_exceeded"))
    );
    assert_eq!(world.count("select count(*) from attempts")?, 1);
    Ok(())
}

/// An intent below the contract's minimum, on a chain whose final blocks have the escrow.
async fn poisoned(world: &TestEnvironment, rig: &mut TestExecutor) -> Result<Preimage> {
    rig.acquire_leases().await?;
    rig.mine(world, 7).await?;
    let poison = Preimage {
        amount: BaseUnits::new(1),
        ..world.intent(3)?
    };
    rig.submit(&poison).await?;
    Ok(poison)
}

#[tokio::test]
async fn a_simulation_without_an_answer_fails_nothing_and_delays_nothing() -> Result<()> {
    let (refused, silent) = (Fault::Answer(Err("the method is not available")), Fault::Silence);
    for fault in [refused, silent] {
        let world = TestEnvironment::new().await?;
        let mut rig = world.executor().build()?;
        let poison = poisoned(&world, &mut rig).await?;
        let deaf = faulty(world.node.url(), "eth_call", fault).await?;
        let through = world
            .executor()
            .node(&deaf)
            .timeout(Duration::from_mins(1))
            .build()?;
        through.signer().hold_lease(rig.lease()?);
        through.set_head(rig.head());
        let began = Instant::now();
        through.send(Command::Submit, 1).await?;
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        assert_eq!(
            rig.leg(&poison).await?,
            ChainLeg::Submitting,
            "the chain is to say it"
        );
        assert_eq!(rig.published_outcomes().await?, []);
    }
    Ok(())
}

#[tokio::test]
async fn a_lagging_node_decides_nothing() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    rig.mine(&world, 1).await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    // The same chain some blocks ago, while it was paused.
    let (lagging, _) = Anvil::deployed(Mining::Automine).await?;
    let through = world.executor().node(&lagging.url()).build()?;
    let (chain, limit) = (&through.chain, Duration::from_secs(5));
    chain
        .transact(&world.admin, &chain.escrow(), PAUSE.to_vec(), limit)
        .await?;
    through.signer().hold_lease(rig.lease()?);
    through.set_head(rig.head());
    through.send(Command::Submit, 1).await?;
    assert!(!through.is_blocked(Command::Submit));
    Ok(())
}

#[tokio::test]
async fn a_mint_that_may_still_be_mined_is_not_refused_by_a_simulation() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    let intent = world.intent(1)?;
    rig.acquire_leases().await?;
    rig.submit(&intent).await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 8).await?;
    rig.published_outcomes().await?;
    rig.execute(&intent).await?;
    rig.send_unsimulated(Command::Execute, 1).await?;
    // As after a block that had too little gas for it: the item is ready again, and another fork may mine it better. The
    // head as well as the final block would refuse it.
    world.db.sql(
        "update work_items set state = 'ready'; \
         update chain_legs set leg = 'escrowed'; \
         update attempts set state = 'mined', block_number = (select max(number) from blocks) where command = 'execute'",
    )?;
    assert_eq!(rig.round(Command::Execute).await?, BatchResult::WithoutAttempt);
    assert_eq!(rig.published_outcomes().await?, []);
    assert_eq!(
        world
            .db
            .sql("select reason from work_items where command = 'execute'")?,
        "not_compliant"
    );
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    Ok(())
}

#[tokio::test]
async fn an_attempt_that_may_still_be_mined_outranks_a_simulation() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    let poison = poisoned(&world, &mut rig).await?;
    rig.send_unsimulated(Command::Submit, 1).await?;
    // As after a fork that removed its refusal: the item is ready again, and its transaction may still be mined.
    world.db.sql("update work_items set state = 'ready'")?;
    assert_eq!(rig.round(Command::Submit).await?, BatchResult::WithoutAttempt);
    assert_eq!(rig.leg(&poison).await?, ChainLeg::Submitting);
    assert_eq!(rig.published_outcomes().await?, []);
    assert_eq!(world.count("select count(*) from attempts")?, 1);
    Ok(())
}
