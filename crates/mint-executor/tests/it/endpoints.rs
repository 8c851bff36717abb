//! Several nodes: one that stands still, tells another story or has lost what it knew is neither followed nor believed.

use anyhow::Result;
use chain::Standing;
use domain::intent::ChainLeg;
use mint_executor::endpoints;
use serde_json::Value;
use storage::executor::items::WorkCommand;
use testkit::Anvil;
use testkit::anvil::Mining;

use crate::faulty::{EVERYTHING, Fault, faulty};
use crate::rig::World;

#[tokio::test]
async fn a_node_that_answers_but_stands_still_is_left_and_nothing_is_sent_twice() -> Result<()> {
    let world = World::new().await?;
    // The same chain; nobody mines here.
    let (frozen, _) = Anvil::deployed(Mining::Manual).await?;
    let mut rig = world.executor_over(&[frozen.url(), world.node.url()])?;
    rig.lead().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    let sent = rig.send(WorkCommand::Submit, 1).await?;
    world.node.mine(4).await?;
    rig.look().await?;
    let before = *rig.ctx.head.borrow();
    assert_eq!(
        endpoints::look(&rig.ctx).await?,
        [Standing::Behind, Standing::Level]
    );
    rig.look().await?;
    let after = *rig.ctx.head.borrow();
    assert!(
        after.map(|head| head.number) > before.map(|head| head.number),
        "the one that moves is followed"
    );
    rig.mine(&world, 3).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    assert!(rig.ctx.chain.receipt(sent).await?.is_some(), "the same bytes");
    assert_eq!(world.count("select count(*) from attempts")?, 1);

    frozen.mine(5).await?;
    world.node.mine(1).await?;
    rig.look().await?;
    // It went on without us: another chain by now.
    assert_eq!(
        endpoints::look(&rig.ctx).await?,
        [Standing::Foreign, Standing::Level]
    );
    Ok(())
}

#[tokio::test]
async fn a_front_whose_nodes_are_gone_is_left_for_the_endpoint_that_answers() -> Result<()> {
    let world = World::new().await?;
    let gone = Fault::Error(-32603, "no available upstream");
    let front = faulty(world.node.url(), EVERYTHING, gone).await?;
    let mut rig = world.executor_over(&[front, world.node.url()])?;
    rig.lead().await?;
    assert!(rig.ctx.head.borrow().is_some(), "before anybody compared them");
    assert_eq!(
        endpoints::look(&rig.ctx).await?,
        [Standing::Behind, Standing::Level]
    );
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    rig.send(WorkCommand::Submit, 1).await?;
    rig.mine(&world, 9).await?;
    assert_eq!(rig.leg(&intent).await?, ChainLeg::Escrowed);
    Ok(())
}

#[tokio::test]
async fn a_node_that_has_lost_its_receipts_makes_nothing_go_out_again() -> Result<()> {
    let world = World::new().await?;
    let no_receipt = Fault::Answer(Ok(Value::Null));
    let blind = faulty(world.node.url(), "eth_getTransactionReceipt", no_receipt).await?;
    let mut rig = world.executor_over(&[blind, world.node.url()])?;
    rig.lead().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    // Reverted as a whole, so without a log: only its receipt tells.
    let (signer, seeing) = (rig.key().address(), world.executor()?.ctx.chain.clone());
    world.turn_role(&seeing, &signer, false).await?;
    rig.look().await?;
    rig.send_unrehearsed(WorkCommand::Submit, 1).await?;
    rig.mine(&world, 9).await?;
    assert_eq!(
        world.db.sql("select outcome from attempt_items")?,
        "forbidden",
        "the other node has the receipt"
    );
    assert_eq!(world.db.sql("select state from attempts")?, "final");
    Ok(())
}

#[tokio::test]
async fn a_node_without_one_of_its_blocks_is_an_error_that_names_it() -> Result<()> {
    let world = World::new().await?;
    let missing = testkit::evm::block_number(&world.node.url()).await? + 1;
    let hole = Fault::Hole(format!("{missing:#x}"));
    let holed = faulty(world.node.url(), "eth_getBlockByNumber", hole).await?;
    let mut rig = world.executor_through(&holed)?;
    rig.lead().await?;
    world.node.mine(2).await?;
    let error = rig.look().await.err().map(|error| error.to_string());
    assert!(
        error
            .as_ref()
            .is_some_and(|error| error.contains(&format!("no block {missing}"))),
        "{error:?}"
    );
    Ok(())
}
