//! A deposit becomes a mint, in batches, and its outcomes are published at the right moments.

use anyhow::Result;
use domain::command::Command;
use domain::intent::{ChainLeg, Finality};
use messaging::wire::Outcome;
use mint_executor::steps::BatchResult;

use crate::world::TestEnvironment;

#[tokio::test]
async fn a_deposit_and_a_payment_become_one_final_mint() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    let intent = world.compliant_intent(1, &rig.chain).await?;
    let id = intent.intent_id();
    rig.acquire_leases().await?;

    rig.submit(&intent).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Queued);
    rig.send(Command::Submit, 1).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Submitting);
    rig.mine(&world, 1).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    assert_eq!(rig.published_outcomes().await?, [(id, Outcome::Escrowed, false)]);

    rig.execute(&intent).await?;
    let hash = rig.send(Command::Execute, 1).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Executing);
    rig.mine(&world, 1).await?;
    let row = rig.leg_row(&id).await?;
    assert_eq!(
        (row.leg, row.tx_hash),
        (ChainLeg::Executed(Finality::Mined), Some(*hash.as_bytes()))
    );
    assert!(
        rig.published_outcomes().await?.is_empty(),
        "a mint is told when final"
    );

    rig.mine(&world, 5).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Executed(Finality::Mined));
    rig.mine(&world, 1).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Executed(Finality::Final));
    assert_eq!(rig.published_outcomes().await?, [(id, Outcome::Executed, true)]);
    assert_eq!(world.minted(&rig.chain, &intent.user).await?, intent.amount.get());
    assert_eq!(
        world.count("select count(*) from work_items where state <> 'done'")?,
        0
    );
    assert_eq!(
        world.count("select count(*) from attempts where state = 'final'")?,
        2
    );
    let history = world
        .db
        .sql("select string_agg(to_leg, ' ' order by id) from chain_leg_history")?;
    assert_eq!(history, "submitting escrowed executing executed executed_final");
    Ok(())
}

#[tokio::test]
async fn items_that_wait_together_share_a_transaction_and_few_calls() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let mut intents = Vec::new();
    for n in 0..70 {
        let intent = world.intent(n)?;
        rig.submit(&intent).await?;
        intents.push(intent);
    }
    rig.send(Command::Submit, 64).await?;
    rig.send(Command::Submit, 6).await?;
    assert_eq!(rig.round(Command::Submit).await?, BatchResult::Nothing);
    rig.mine(&world, 1).await?;
    for intent in &intents {
        assert_eq!(rig.leg(intent).await?, ChainLeg::Escrowed);
    }
    assert_eq!(
        world.count("select count(*) from escrow_events where kind = 'submitted'")?,
        70
    );
    Ok(())
}

/// The primary key of the rows stops a repetition too, but only while the row exists.
#[tokio::test]
async fn a_redelivered_message_is_ignored_even_after_its_item_was_deleted() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let rig = world.executor().build()?;
    let delivery = rig.delivery(messaging::wire::MintSubmit {
        intent: world.intent(1)?,
        integrator: "dev".parse()?,
        accepted_at: 4_000_000_000,
    })?;
    let take = async || rig.steps.deliver(vec![delivery.clone()]).await;
    take().await;
    assert_eq!(world.count("select count(*) from work_items")?, 1);
    world.db.sql("delete from work_items")?;
    take().await;
    assert_eq!(world.count("select count(*) from work_items")?, 0);
    Ok(())
}

#[tokio::test]
async fn an_item_of_an_unmined_attempt_goes_into_no_other_batch() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    let intent = world.compliant_intent(1, &rig.chain).await?;
    rig.acquire_leases().await?;
    rig.deposit(&world, &intent).await?;
    rig.execute(&intent).await?;
    rig.send(Command::Execute, 1).await?;
    // As after a fork that mined an older attempt of the item again, which skipped it.
    world
        .db
        .sql("update work_items set state = 'ready' where state = 'in_attempt'; update chain_legs set leg = 'escrowed'")?;
    assert_eq!(
        rig.submit_unsimulated(rig.signer(), Command::Execute).await?,
        BatchResult::WithoutAttempt
    );
    assert_eq!(world.count("select count(*) from attempts")?, 2);
    Ok(())
}

#[tokio::test]
async fn a_redelivered_message_changes_nothing() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    let body = messaging::wire::MintSubmit {
        intent: intent.clone(),
        integrator: "dev".parse()?,
        accepted_at: 4_000_000_000,
    };
    let delivery = rig.delivery(body.clone())?;
    for _ in 0..2 {
        rig.steps.deliver(vec![delivery.clone(), delivery.clone()]).await;
    }
    assert_eq!(world.count("select count(*) from work_items")?, 1);
    // The same intent under another message id, as a redrive sends it.
    rig.consume_body(body).await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 1).await?;
    assert_eq!(rig.round(Command::Submit).await?, BatchResult::Nothing);
    assert_eq!(
        world.count("select count(*) from work_items where state = 'done'")?,
        2
    );
    assert_eq!(world.count("select count(*) from attempts")?, 1);
    Ok(())
}
