//! Neither the database's nor the broker's owner can make the executor sign.

use anyhow::Result;
use domain::command::Command;
use domain::intent::ChainLeg;
use messaging::wire::{MintExecute, MintSubmit};
use mint_executor::steps::BatchResult;
use storage::executor::attempts;

use crate::rig::{TestExecutor, paid_body};
use crate::world::TestEnvironment;

async fn escrowed(world: &TestEnvironment, rig: &mut TestExecutor, n: u64) -> Result<domain::ids::Preimage> {
    let intent = world.compliant_intent(n, &rig.chain).await?;
    rig.submit(&intent).await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(world, 1).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    Ok(intent)
}

fn parked_classes(world: &TestEnvironment) -> Result<String> {
    world
        .db
        .sql("select string_agg(error_class, ' ' order by created_at) from work_items where state = 'parked'")
}

#[tokio::test]
async fn an_item_whose_envelope_was_changed_is_never_signed() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let honest = world.intent(1)?;
    rig.submit(&honest).await?;
    // The amount inside the stored envelope.
    world.db.sql(
        "update work_items set envelope = convert_to(replace(convert_from(envelope, 'utf8'), '150000000000000000000', \
         '950000000000000000000'), 'utf8')",
    )?;
    assert_eq!(rig.round(Command::Submit).await?, BatchResult::WithoutAttempt);
    assert_eq!(parked_classes(&world)?, "seal_invalid");
    // A genuine envelope under the id of another intent.
    let other = world.intent(2)?;
    rig.submit(&other).await?;
    world.db.sql(&format!(
        "update work_items set intent_id = decode('{}', 'hex') where state = 'ready'",
        &honest.intent_id().to_string()[2..]
    ))?;
    assert_eq!(rig.round(Command::Submit).await?, BatchResult::WithoutAttempt);
    assert_eq!(parked_classes(&world)?, "seal_invalid row_tampered");
    assert_eq!(world.count("select count(*) from attempts")?, 0);
    assert_eq!(
        world.count("select count(*) from work_items where dead_letter_pending")?,
        2
    );
    Ok(())
}

#[tokio::test]
async fn a_command_under_the_id_of_another_message_is_never_signed() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    rig.submit(&world.intent(1)?).await?;
    // The envelope is genuine, and so is its intent: the same command once more, as if it were another.
    world
        .db
        .sql("update work_items set message_id = gen_random_uuid()")?;
    assert_eq!(rig.round(Command::Submit).await?, BatchResult::WithoutAttempt);
    assert_eq!(parked_classes(&world)?, "row_tampered");
    assert_eq!(world.count("select count(*) from attempts")?, 0);
    Ok(())
}

#[tokio::test]
async fn a_deposit_that_a_stranger_would_pay_is_parked() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let mut intent = world.intent(1)?;
    intent.depositor = intent.user;
    rig.submit(&intent).await?;
    // A simulation would settle it at once if the final block already has the escrow.
    rig.send_unsimulated(Command::Submit, 1).await?;
    rig.mine(&world, 1).await?;
    assert_eq!(
        parked_classes(&world)?,
        "",
        "a fork may still take its block back"
    );
    rig.mine(&world, 6).await?;
    assert_eq!(parked_classes(&world)?, "depositor_not_allowed");
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Submitting);
    Ok(())
}

#[tokio::test]
async fn a_mint_needs_a_genuine_report_of_a_payment_of_that_amount() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intent = escrowed(&world, &mut rig, 1).await?;
    let other = world.intent(2)?;
    let mut changed = rig.report(&paid_body(&intent, "150"))?;
    changed.body = paid_body(&intent, "950").into_bytes();
    let reports = [
        changed,
        rig.report(&paid_body(&intent, "149"))?,
        rig.report(&paid_body(&other, "150"))?,
        rig.report(&paid_body(&intent, "150").replace(":0}", ":1032}"))?,
    ];
    for report in reports {
        rig.consume_body(MintExecute {
            intent: intent.clone(),
            report,
        })
        .await?;
        assert_eq!(rig.round(Command::Execute).await?, BatchResult::WithoutAttempt);
    }
    let expected = "report_tampered report_other_amount report_other_tx_ref report_not_paid";
    assert_eq!(parked_classes(&world)?, expected);
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    assert_eq!(
        world.count("select count(*) from attempts where command = 'execute'")?,
        0
    );
    Ok(())
}

#[tokio::test]
async fn a_row_added_to_a_stored_batch_is_never_minted_and_settles_nothing() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let paid = escrowed(&world, &mut rig, 1).await?;
    let unpaid = escrowed(&world, &mut rig, 2).await?;
    rig.execute(&paid).await?;
    let built = rig
        .store_unsimulated(Command::Execute, &rig.chain.latest_header().await?)
        .await?;
    let BatchResult::Attempt { id, signed, .. } = built else {
        panic!("{built:?}")
    };
    world.db.sql(&format!(
        "insert into work_items (message_id, intent_id, command, state, envelope) \
         values (gen_random_uuid(), decode('{0}', 'hex'), 'execute', 'in_attempt', 'x'); \
         insert into attempt_items (attempt_id, position, message_id, intent_id) \
         select {id}, 1, message_id, intent_id from work_items where envelope = 'x'",
        &unpaid.intent_id().to_string()[2..]
    ))?;
    rig.steps
        .step_broadcast(id, &rig.signer().address_bytes(), &signed)
        .await;
    rig.mine(&world, 8).await?;
    assert_eq!(world.minted(&rig.chain, &paid.user).await?, paid.amount.get());
    assert_eq!(world.minted(&rig.chain, &unpaid.user).await?, 0);
    assert_eq!(rig.leg(&unpaid).await?, ChainLeg::Escrowed);
    assert_eq!(
        world
            .db
            .sql("select state from work_items where envelope = 'x'")?,
        "in_attempt"
    );
    // Nor is a forged item that looks ready.
    world
        .db
        .sql("update work_items set state = 'ready' where envelope = 'x'")?;
    assert_eq!(rig.round(Command::Execute).await?, BatchResult::WithoutAttempt);
    assert_eq!(parked_classes(&world)?, "malformed");
    Ok(())
}

#[tokio::test]
async fn an_intent_of_another_deployment_is_parked_on_arrival() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let rig = world.executor().build()?;
    let intent = domain::ids::Preimage {
        chain_id: 1,
        ..world.intent(1)?
    };
    let body = MintSubmit {
        intent,
        integrator: "dev".parse()?,
        accepted_at: 4_000_000_000,
    };
    let answers = rig.steps.deliver(vec![rig.delivery(body)?]).await;
    let messaging::Disposition::Park(failure) = &answers[0] else {
        panic!("{answers:?}")
    };
    assert_eq!(failure.class, "other_deployment");
    Ok(())
}

#[tokio::test]
async fn stored_bytes_that_were_changed_are_never_sent() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    for n in [1, 2] {
        rig.submit(&world.intent(n)?).await?;
        rig.send_unsimulated(Command::Submit, 1).await?;
    }
    let signer = rig.signer().address_bytes();
    let mut open = attempts::open_of(&rig.pool.get().await?, &signer).await?;
    assert!(
        rig.steps.step_resend(&open[1]).await,
        "what we signed goes out again"
    );
    // The node would take these bytes too: they are signed, by us, for another nonce.
    open[1].raw_transaction = open[0].raw_transaction.clone();
    assert!(!rig.steps.step_resend(&open[1]).await);
    Ok(())
}
