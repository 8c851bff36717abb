//! What only a final block settles.

use anyhow::Result;
use domain::clock::{Clock, SystemSource};
use domain::command::Command;
use domain::intent::{ChainLeg, Finality};
use mint_executor::steps::BatchResult;

use crate::world::{PAUSE, TestEnvironment};

#[tokio::test]
async fn a_refused_deposit_fails_though_the_state_of_its_final_block_is_gone() -> Result<()> {
    let mut world = TestEnvironment::new().await?;
    let mut first = world.executor().build()?;
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

    let mut second = world.executor().build()?;
    second.acquire_leases().await?;
    assert_eq!(second.leg(&intent).await?, ChainLeg::Rejected);
    Ok(())
}

#[tokio::test]
async fn a_deposit_refused_in_a_block_that_is_not_final_is_not_given_up_with_the_window() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    world.as_admin(&rig.chain, &PAUSE).await?;
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
    let mut rig = world.executor().finalized_tag().build()?;
    let intent = world.compliant_intent(1, &rig.chain).await?;
    rig.acquire_leases().await?;
    rig.deposit(&world, &intent).await?;
    rig.execute(&intent).await?;
    rig.send(Command::Execute, 1).await?;
    rig.mine(&world, 1).await?;
    let mined = rig.leg_row(&intent.intent_id()).await?.block_number;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Executed(Finality::Mined));
    for _ in 0..6 {
        let published_outcomes = rig.chain.finalized_header().await?.map(|header| header.number);
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
