//! Several nodes: one that stands still, tells another story or has lost what it knew is neither followed nor believed.

use anyhow::{Context as _, Result};
use chain::Standing;
use domain::intent::ChainLeg;
use mint_executor::endpoints;
use serde_json::{Value, json};
use storage::executor::items::WorkCommand;
use testkit::Anvil;
use testkit::anvil::Mining;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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
async fn a_node_that_has_lost_its_receipts_makes_nothing_go_out_again() -> Result<()> {
    let world = World::new().await?;
    let blind = blind_to_receipts(world.node.url()).await?;
    let mut rig = world.executor_over(&[blind, world.node.url()])?;
    rig.lead().await?;
    let intent = world.intent(1)?;
    rig.submit(&intent).await?;
    // Reverted as a whole, so without a log: only its receipt tells.
    let (signer, seeing) = (rig.key().address(), world.executor()?.ctx.chain.clone());
    world.turn_role(&seeing, &signer, false).await?;
    rig.look().await?;
    rig.send(WorkCommand::Submit, 1).await?;
    rig.mine(&world, 9).await?;
    assert_eq!(
        world.db.sql("select outcome from attempt_items")?,
        "forbidden",
        "the other node has the receipt"
    );
    assert_eq!(world.db.sql("select state from attempts")?, "final");
    Ok(())
}

/// A node that answers everything but knows no receipt.
async fn blind_to_receipts(node: String) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, node.clone()));
        }
    });
    Ok(url)
}

async fn answer(mut stream: TcpStream, node: String) -> Result<()> {
    let mut text = Vec::new();
    let body = loop {
        let mut chunk = [0; 16 * 1024];
        let read = stream.read(&mut chunk).await?;
        anyhow::ensure!(read > 0, "closed");
        text.extend_from_slice(&chunk[..read]);
        if let Some(body) = whole_body(&text) {
            break body;
        }
    };
    let request: Value = serde_json::from_slice(&body)?;
    let method = request["method"].as_str().context("a method")?;
    let result = match method {
        "eth_getTransactionReceipt" => Ok(Value::Null),
        _ => testkit::http::rpc(&node, method, request["params"].clone()).await,
    };
    let reply = match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }),
        Err(error) => {
            let error = json!({ "code": -32000, "message": format!("{error:#}") });
            json!({ "jsonrpc": "2.0", "id": request["id"], "error": error })
        }
    }
    .to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        reply.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(reply.as_bytes()).await?;
    Ok(())
}

fn whole_body(text: &[u8]) -> Option<Vec<u8>> {
    let split = text.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&text[..split]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))?;
    let body = &text[split + 4..];
    (body.len() >= length.trim().parse::<usize>().ok()?).then(|| body.to_vec())
}
