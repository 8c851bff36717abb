//! Transactions that others sent with our key, and nonces that a fork gives back.

use anyhow::Result;
use domain::command::Command;
use domain::intent::ChainLeg;
use mint_executor::steps::BatchResult;
use serde_json::json;
use storage::executor::attempts;

use crate::rig::TestExecutor;
use crate::world::TestEnvironment;

#[tokio::test]
async fn a_nonce_used_by_a_stranger_is_found_out_and_the_work_goes_again() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
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
    let mut rig = world.executor().confirmations(CONFIRMATIONS).build()?;
    rig.acquire_leases().await?;
    let (stolen, new) = (world.intent(1)?, world.intent(2)?);
    rig.submit(&stolen).await?;
    rig.use_next_nonce(&world).await?;
    rig.poll().await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 10).await?;
    let most = rig.tuning.max_in_flight;
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
    let mut rig = world.executor().confirmations(24).build()?;
    rig.acquire_leases().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    rig.use_next_nonce(&world).await?;
    rig.poll().await?;
    rig.send(Command::Submit, 1).await?;
    rig.mine(&world, 3).await?;
    let open = async |rig: &TestExecutor| -> Result<u64> {
        let client = rig.pool.get().await?;
        let key = rig.signer();
        Ok(attempts::open_count(&client, &key.address_bytes(), key.confirmed_nonce()).await?)
    };
    assert_eq!(open(&rig).await?, 0, "its nonce has a block");
    let high_fee = u64::try_from(rig.tuning.max_fee_per_gas)? * 2;
    world.node.rpc("anvil_reorg", json!([4, []])).await?;
    for _ in 0..3 {
        world.block_with_base_fee(high_fee).await?;
        rig.poll().await?;
    }
    assert_eq!(open(&rig).await?, 1, "it has none any more");
    let most = rig.tuning.max_in_flight;
    assert!(rig.signer().in_flight_limit(most) < most);
    for _ in 0..4 {
        world.block_with_base_fee(1_000_000_000).await?;
        rig.poll().await?;
    }
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    Ok(())
}

#[tokio::test]
async fn a_nonce_that_a_fork_took_back_from_a_stranger_is_filled() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
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
        rig.head().map(|head| head.number),
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
