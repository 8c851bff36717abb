//! Each refusal of the contract has one consequence.

use std::time::Duration;

use anyhow::Result;
use domain::clock::{Clock, SystemSource};
use domain::command::Command;
use domain::intent::{ChainLeg, Finality};
use domain::item_result::LegReason;
use messaging::wire::Outcome;
use mint_executor::steps::BatchResult;

use crate::world::{PAUSE, TestEnvironment, UNPAUSE};

#[tokio::test]
async fn a_user_who_is_not_compliant_is_refused_and_refunded_never_minted() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    let id = intent.intent_id();
    rig.deposit(&world, &intent).await?;
    rig.execute(&intent).await?;
    rig.send_unsimulated(Command::Execute, 1).await?;
    rig.mine(&world, 1).await?;
    let row = rig.leg_row(&id).await?;
    assert_eq!(
        (row.leg, row.reason.map(LegReason::name)),
        (ChainLeg::Escrowed, Some("not_compliant"))
    );
    assert_eq!(
        rig.published_outcomes().await?,
        [(id, Outcome::Escrowed, false), (id, Outcome::Refused, false)]
    );

    rig.refund(&intent).await?;
    rig.send(Command::Refund, 1).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Refunding);
    rig.mine(&world, 1).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Refunded(Finality::Mined));
    rig.mine(&world, 6).await?;
    assert_eq!(rig.published_outcomes().await?, [(id, Outcome::Refunded, true)]);
    assert_eq!(world.minted(&rig.chain, &intent.user).await?, 0);
    Ok(())
}

#[tokio::test]
async fn a_paused_escrow_opens_the_breaker_and_burns_no_attempt() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    world.as_admin(&rig.chain, &PAUSE).await?;
    rig.poll().await?;
    rig.send_unsimulated(Command::Submit, 1).await?;
    rig.mine(&world, 1).await?;
    assert!(rig.is_blocked(Command::Submit));
    assert!(
        !rig.is_blocked(Command::Execute),
        "only the command that was refused"
    );
    assert_eq!(
        world.db.sql(
            "select state || coalesce(error_class, '') || coalesce(max_batch_size, 64) from work_items"
        )?,
        "ready64"
    );
    assert!(rig.published_outcomes().await?.is_empty());

    world.as_admin(&rig.chain, &UNPAUSE).await?;
    rig.poll().await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 1).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    Ok(())
}

#[tokio::test]
async fn a_role_taken_away_opens_the_breaker_and_parks_nothing() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    let signer = rig.signer().address();
    world.set_role(&rig.chain, &signer, false).await?;
    rig.poll().await?;
    rig.send_unsimulated(Command::Submit, 1).await?;
    // It reverts as a whole and has no log, so its receipt is read once it is overdue.
    rig.mine(&world, 4).await?;
    assert!(rig.signer().role_and_balance().is_open());
    assert!(!rig.is_blocked(Command::Submit), "only that key's share waits");
    assert_eq!(
        world.db.sql(
            "select state || coalesce(error_class, '') || coalesce(max_batch_size, 64) from work_items"
        )?,
        "ready64"
    );
    assert_eq!(world.db.sql("select outcome from attempt_items")?, "unauthorized");

    world.set_role(&rig.chain, &signer, true).await?;
    rig.poll().await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 1).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    Ok(())
}

#[tokio::test]
async fn a_refund_before_any_attempt_drops_the_intent() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    rig.refund(&intent).await?;
    assert_eq!(rig.round(Command::Refund).await?, BatchResult::WithoutAttempt);
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Dropped);
    assert_eq!(
        rig.published_outcomes().await?,
        [(intent.intent_id(), Outcome::Dropped, true)]
    );
    assert_eq!(rig.round(Command::Submit).await?, BatchResult::WithoutAttempt);
    assert_eq!(world.count("select count(*) from attempts")?, 0);
    assert_eq!(
        world.count("select count(*) from work_items where state = 'done'")?,
        2
    );
    Ok(())
}

#[tokio::test]
async fn nothing_is_deposited_after_the_payment_window() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit_accepted(&intent, SystemSource.unix_seconds() - 3601)
        .await?;
    assert_eq!(rig.round(Command::Submit).await?, BatchResult::WithoutAttempt);
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Dropped);
    assert_eq!(world.count("select count(*) from attempts")?, 0);
    Ok(())
}

#[tokio::test]
async fn a_refund_during_a_deposit_waits_in_its_row_and_then_refunds() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    rig.send(Command::Submit, 1).await?;
    rig.refund(&intent).await?;
    assert_eq!(rig.round(Command::Refund).await?, BatchResult::Nothing);
    rig.mine(&world, 1).await?;
    rig.send(Command::Refund, 1).await?;
    rig.mine(&world, 1).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Refunded(Finality::Mined));
    Ok(())
}

#[tokio::test]
async fn a_deposit_that_can_never_succeed_fails_once_its_block_is_final() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    // The amount is below the contract's minimum.
    let intent = domain::ids::Preimage {
        amount: domain::money::BaseUnits::new(1),
        ..world.intent(1)?
    };
    rig.submit(&intent).await?;
    rig.send_unsimulated(Command::Submit, 1).await?;
    rig.mine(&world, 6).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Submitting);
    rig.mine(&world, 1).await?;
    let row = rig.leg_row(&intent.intent_id()).await?;
    assert_eq!(
        (row.leg, row.reason.map(LegReason::name)),
        (ChainLeg::Rejected, Some("invalid_amount"))
    );
    assert_eq!(
        rig.published_outcomes().await?,
        [(intent.intent_id(), Outcome::Rejected, true)]
    );
    Ok(())
}

#[tokio::test]
async fn an_unacknowledged_outcome_is_published_again() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.deposit(&world, &intent).await?;
    assert_eq!(rig.published_outcomes().await?.len(), 1);
    // The queue was purged, so callback has no copy.
    rig.steps.step_redrive(Duration::ZERO).await?;
    assert_eq!(
        rig.published_outcomes().await?,
        [(intent.intent_id(), Outcome::Escrowed, false)]
    );
    world.db.sql(&format!(
        "insert into decisions (tx_ref, chain_leg, updated_at) values ('{}', 'escrowed', now() - interval '1 hour')",
        intent.tx_ref
    ))?;
    rig.steps.step_redrive(Duration::ZERO).await?;
    assert!(
        rig.published_outcomes().await?.is_empty(),
        "the callback service knows"
    );
    Ok(())
}

#[tokio::test]
async fn an_unacknowledged_outcome_is_published_with_growing_pauses() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.deposit(&world, &intent).await?;
    rig.published_outcomes().await?;
    let quiet = Duration::from_mins(2);
    let passed = |seconds: u32| {
        world.db.sql(&format!(
            "update chain_legs set updated_at = updated_at - interval '{seconds} s'; \
             update outcome_redrives set last_sent_at = last_sent_at - interval '{seconds} s'"
        ))
    };
    let mut waits = Vec::new();
    let mut waited = 0;
    while waits.len() < 7 {
        passed(60)?;
        waited += 60;
        rig.steps.step_redrive(quiet).await?;
        if !rig.published_outcomes().await?.is_empty() {
            waits.push(waited);
            waited = 0;
        }
    }
    // The clock runs on while the test does, so a wait may end a step early.
    let expected = [120, 240, 480, 960, 1920, 3600, 3600];
    for (wait, expected) in waits.iter().zip(expected) {
        assert!(*wait == expected || *wait == expected + 60, "{waits:?}");
    }
    Ok(())
}

#[tokio::test]
async fn a_discarded_deposit_ends_when_the_payment_window_is_over() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    // One was sent and refused, the other never sent; an operator discards what was parked.
    let mut refused = world.intent(1)?;
    refused.depositor = refused.user;
    rig.submit(&refused).await?;
    rig.send_unsimulated(Command::Submit, 1).await?;
    let unsent = world.intent(2)?;
    rig.submit(&unsent).await?;
    world
        .db
        .sql("update work_items set state = 'parked' where state = 'ready'")?;
    rig.refund(&refused).await?;
    rig.mine(&world, 1).await?;
    rig.steps.step_end_stranded().await?;
    assert!(rig.published_outcomes().await?.is_empty(), "the window is open");

    world
        .db
        .sql("update chain_legs set updated_at = updated_at - interval '3601 s'")?;
    rig.steps.step_end_stranded().await?;
    assert_eq!(rig.leg(&unsent).await?, ChainLeg::Dropped);
    assert_eq!(
        rig.leg(&refused).await?,
        ChainLeg::Submitting,
        "its block is not final"
    );
    rig.mine(&world, 7).await?;
    rig.steps.step_end_stranded().await?;
    let row = rig.leg_row(&refused.intent_id()).await?;
    assert_eq!(
        (row.leg, row.reason.map(LegReason::name)),
        (ChainLeg::Rejected, Some("payment_window_over"))
    );
    assert_eq!(
        rig.published_outcomes().await?,
        [
            (unsent.intent_id(), Outcome::Dropped, true),
            (refused.intent_id(), Outcome::Rejected, true)
        ]
    );
    // The refund that waited for the deposit has nothing left to do.
    assert_eq!(rig.round(Command::Refund).await?, BatchResult::WithoutAttempt);
    assert_eq!(
        world.count("select count(*) from work_items where command = 'refund' and state = 'done'")?,
        1
    );
    Ok(())
}

#[tokio::test]
async fn a_deposit_found_on_chain_is_not_ended_with_its_window() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 8).await?;
    // The rows lost what the chain holds.
    world
        .db
        .sql("update chain_legs set leg = 'submitting', updated_at = updated_at - interval '3601 s'")?;
    rig.steps.step_end_stranded().await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    Ok(())
}

#[tokio::test]
async fn a_deposit_accepted_before_the_treasury_moved_is_still_made() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    // setTreasury(address); the former treasury stays spendable until an admin removes it.
    let other = hex::encode(rig.signer().address_bytes());
    let call = hex::decode(format!("f0f44260{other:0>64}"))?;
    world.as_admin(&rig.chain, &call).await?;
    rig.poll().await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 1).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    Ok(())
}
