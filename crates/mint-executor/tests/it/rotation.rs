//! A key is drained, retired or taken away: what it signed completes, and its intents move.

use anyhow::Result;
use domain::command::Command;
use domain::ids::Preimage;
use domain::intent::{ChainLeg, Finality};
use mint_executor::steps::BatchResult;
use storage::executor::attempts;

use crate::keys::{SECOND_KEY, items, submit_all};
use crate::rig::TestExecutor;
use crate::world::TestEnvironment;

/// Writes an operator's order for a key.
fn order(world: &TestEnvironment, rig: &TestExecutor, key: usize, state: &str) -> Result<()> {
    let address = hex::encode(rig.key(key).address_bytes());
    world.db.sql(&format!(
        "insert into signer_admin_states values ('\\x{address}', '{state}', 'test', 'test') \
         on conflict (address) do update set state = excluded.state"
    ))?;
    Ok(())
}

/// The first key holds its lease, its successor has the role, and an intent may be minted.
async fn before_a_rotation(world: &TestEnvironment) -> Result<(TestExecutor, Preimage)> {
    let mut old = world.executor().build()?;
    let next = world.executor().keys(&[SECOND_KEY]).build()?.signer().address();
    world.set_role(&old.chain, &next, true).await?;
    let intent = world.compliant_intent(1, &old.chain).await?;
    old.acquire_leases().await?;
    Ok((old, intent))
}

#[tokio::test]
async fn a_drained_key_signs_nothing_new_and_its_intents_move_once_its_nonces_are_final() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let (mut old, intent) = before_a_rotation(&world).await?;
    old.deposit(&world, &intent).await?;
    assert_eq!(old.leg(&intent).await?, ChainLeg::Escrowed);
    order(&world, &old, 0, "draining")?;
    old.execute(&intent).await?;
    assert_eq!(
        old.round(Command::Execute).await?,
        BatchResult::Nothing,
        "a drained key signs nothing new"
    );

    let new = world.executor().keys(&[SECOND_KEY]).build()?;
    new.take(new.signer()).await?;
    let head = old.head();
    new.set_head(head);
    assert_eq!(
        new.round(Command::Execute).await?,
        BatchResult::Nothing,
        "it waits: the old key's deposit is not final"
    );
    assert_eq!(world.count("select count(*) from attempts")?, 1);
    old.mine(&world, 6).await?;
    let head = old.head();
    new.set_head(head);
    assert_eq!(items(&new.round(Command::Execute).await?), 1);
    old.mine(&world, 1).await?;
    assert_eq!(old.leg(&intent).await?, ChainLeg::Executed(Finality::Mined));
    let row = old.leg_row(&intent.intent_id()).await?;
    assert_eq!(row.signer, Some(new.signer().address_bytes()), "it moved");
    assert_eq!(world.minted(&old.chain, &intent.user).await?, intent.amount.get());
    Ok(())
}

#[tokio::test]
async fn a_removed_key_strands_no_intent() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let (old, intent) = before_a_rotation(&world).await?;
    old.submit(&intent).await?;
    // The old process signed and stored this, and never sent it.
    let head = old.chain.latest_header().await?;
    let lease = old.lease()?;
    old.store_unsimulated(Command::Submit, &head).await?;
    drop(old);
    world.expire_leases()?;

    let mut new = world.executor().keys(&[SECOND_KEY]).build()?;
    let open = attempts::open_summary(&new.pool.get().await?).await?;
    assert_eq!(
        open.iter().map(|of| (of.signer, of.nonces)).collect::<Vec<_>>(),
        [(lease.signer, 1)]
    );
    new.acquire_leases().await?;
    new.mine(&world, 1).await?;
    assert_eq!(
        new.leg(&intent).await?,
        ChainLeg::Escrowed,
        "the old key's bytes went out without the key"
    );
    new.execute(&intent).await?;
    assert_eq!(new.round(Command::Execute).await?, BatchResult::Nothing);
    new.mine(&world, 6).await?;
    new.send(Command::Execute, 1).await?;
    new.mine(&world, 1).await?;
    assert_eq!(new.leg(&intent).await?, ChainLeg::Executed(Finality::Mined));
    Ok(())
}

#[tokio::test]
async fn no_executor_acquires_a_retired_key() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    order(&world, &rig, 0, "retired")?;
    world.expire_leases()?;
    let again = world.executor().build()?;
    assert_eq!(again.steps.acquire_lease(again.signer()).await?, None);
    Ok(())
}

#[tokio::test]
async fn a_retired_key_completes_what_it_signed_and_signs_nothing_new() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intents = submit_all(&rig, &world, 1).await?;
    rig.send(Command::Submit, 1).await?;
    order(&world, &rig, 0, "retired")?;
    world.expire_leases()?;
    let mut again = world.executor().build()?;
    again.acquire_leases().await?;
    submit_all(&again, &world, 2).await?;
    assert_eq!(again.round(Command::Submit).await?, BatchResult::Nothing);
    again.mine(&world, 1).await?;
    assert_eq!(again.leg(&intents[0]).await?, ChainLeg::Escrowed);
    Ok(())
}
