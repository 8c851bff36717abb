//! A batch that reverts as a whole, which no contract of ours does: it is halved until its poison item is alone.

use anyhow::Result;
use domain::address::Address;
use domain::command::Command;
use domain::intent::ChainLeg;
use mint_executor::steps::BatchResult;
use serde_json::{Value, json};

use crate::world::TestEnvironment;

const ASIDE: &str = "0x00000000000000000000000000000000000a51de";

/// EVM code that reverts when a word of the calldata is this address, and otherwise calls the code at [`ASIDE`].
fn poisoned_code(poison: &Address) -> String {
    let (poison, aside) = (poison.to_string(), &ASIDE[2..]);
    let parts = [
        "365f5f37",   // copy the calldata to memory
        "6004",       // i = 4, behind the selector
        "5b",         // 0x06: each word
        "368110",     // i < its length?
        "15603357",   // else forward
        "803573",     // is the word at i
        &poison[2..], // the poison?
        "14602f57",   // then revert
        "602001",     // i += 32
        "600656",     // the next word
        "5b5f5ffd",   // 0x2f: revert
        "5b",         // 0x33: forward
        "5f5f365f73", // all of it
        aside,
        "5af4",     // by a delegate call
        "3d5f5f3e", // and copy what it returns
        "605957",   // did it work?
        "3d5ffd",   // pass on its revert
        "5b3d5ff3", // 0x59: or its answer
    ];
    format!("0x{}", parts.concat())
}

/// Installs that code in front of the escrow; returns the escrow's own code.
async fn poisoned(world: &TestEnvironment, poison: &Address) -> Result<Value> {
    let (node, escrow) = (&world.node, &world.at.escrow);
    let code = node.rpc("eth_getCode", json!([escrow, "latest"])).await?;
    node.rpc("anvil_setCode", json!([ASIDE, code])).await?;
    node.rpc("anvil_setCode", json!([escrow, poisoned_code(poison)]))
        .await?;
    Ok(code)
}

#[tokio::test]
async fn a_batch_that_reverts_is_halved_until_its_poison_alone_is_parked() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    let intents = (1..=5).map(|n| world.intent(n)).collect::<Result<Vec<_>>>()?;
    let (poison, good) = (&intents[3], [0, 1, 2, 4].map(|n| &intents[n]));
    poisoned(&world, &poison.user).await?;
    for intent in &intents {
        rig.submit(intent).await?;
    }
    let mut sizes = Vec::new();
    while let BatchResult::Attempt { items, .. } =
        rig.submit_unsimulated(rig.signer(), Command::Submit).await?
    {
        sizes.push(items);
        // The receipt of a transaction without a log is read once it has missed a block.
        rig.mine(&world, 3).await?;
        let parked = "select count(*) from work_items where state = 'parked'";
        anyhow::ensure!(world.count(parked)? == 0, "no block is final yet");
        anyhow::ensure!(sizes.len() < 9, "it goes on and on: {sizes:?}");
    }
    // All five revert, so their limit is three; a batch of three reverts, so its limit is two; the poison ends up alone.
    assert_eq!(sizes, [5, 3, 2, 1, 1]);
    rig.mine(&world, 6).await?;
    for intent in good {
        assert_eq!(rig.leg(intent).await?, ChainLeg::Escrowed, "{}", intent.tx_ref);
    }
    let id = poison.intent_id();
    let parked = format!(
        "select state || ' ' || error_class from work_items where intent_id = '\\x{}'",
        &id.to_string()[2..]
    );
    assert_eq!(world.db.sql(&parked)?, "parked reverted");
    assert_ne!(rig.leg(poison).await?, ChainLeg::Escrowed);
    Ok(())
}

#[tokio::test]
async fn an_item_that_succeeds_after_a_fork_was_never_a_dead_letter() -> Result<()> {
    let world = TestEnvironment::new().await?;
    let mut rig = world.executor().build()?;
    rig.acquire_leases().await?;
    rig.mine(&world, 3).await?;
    let intent = world.intent(1)?;
    let code = poisoned(&world, &intent.user).await?;
    rig.submit(&intent).await?;
    rig.send_unsimulated(Command::Submit, 1).await?;
    rig.mine(&world, 4).await?;
    let outcome = "select coalesce(max(outcome), 'none') from attempt_items";
    assert_eq!(world.db.sql(outcome)?, "reverted");
    // A parked row would be published at once, and no fork takes a dead letter back.
    let parked = "select count(*) from work_items where state = 'parked'";
    assert_eq!(world.count(parked)?, 0);
    world.node.rpc("anvil_reorg", json!([4, []])).await?;
    world
        .node
        .rpc("anvil_setCode", json!([world.at.escrow, code]))
        .await?;
    rig.poll().await?;
    rig.mine(&world, 8).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    assert_eq!(world.count(parked)?, 0);
    assert_eq!(world.count("select count(*) from attempts")?, 1, "the same bytes");
    Ok(())
}
