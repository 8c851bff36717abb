//! The whole process with a real broker: consumers, submitter, confirmer, relay, lease, heartbeat.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use domain::clock::{Clock, IdSource, System};
use messaging::wire::{MintExecute, MintSubmit};
use messaging::{Broker, BrokerConfig, Outgoing, Service, Stamp};
use runtime::Environment;
use testkit::anvil::{EXECUTOR_PRIVATE_KEY, Mining};
use testkit::{Anvil, Servers, eventually};

use crate::rig::{World, paid_body};

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_takes_commands_from_the_broker_and_tells_outcomes() -> Result<()> {
    let servers = Servers::shared()?;
    let (node, at) = Anvil::deployed(Mining::Every(1.0)).await?;
    // The rig signs and reads; the process beside it has its own database of the same server.
    let world = World::new().await?;
    let rig = world.executor().await?;
    let vhost = servers.vhost().await?;
    let as_service = |service| {
        Broker::new(BrokerConfig {
            url: vhost.url().into(),
            service,
            version: "test".into(),
            ca_pem: None,
        })
    };
    messaging::topology::declare_all(&as_service(Service::Ops)?).await?;
    let environment: Environment = [
        ("DATABASE_URL", world.db_url.clone()),
        ("AMQP_URL", vhost.url()),
        ("RPC_URLS", node.url()),
        ("FIATRAILS_KEYS_DIR", world.keys_dir("mint-executor")?),
        (
            "FIATRAILS_POLICY_FILE",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/policy.json").to_owned(),
        ),
        ("ESCROW_ADDRESS", at.escrow.clone()),
        ("TREASURY_ADDRESS", at.treasury.clone()),
        ("EXECUTOR_PRIVATE_KEY", EXECUTOR_PRIVATE_KEY.to_owned()),
    ]
    .into_iter()
    .collect();
    let app = mint_executor::app::build(&environment)?;
    let ctx = app.context();
    let process = tokio::spawn(app.run_until_stopped());
    let manager = at.compliance_manager.parse()?;
    let intent = world.intent(1)?;
    ctx.chain
        .set_user_facts(&world.admin, &manager, &intent.user, (10, [7; 32], true), LIMIT)
        .await?;

    let gateway = as_service(Service::Gateway)?.publisher();
    let stamp = || Stamp {
        message_id: System.message_id(),
        causation_id: None,
        at: System.now(),
        traceparent: None,
    };
    let body = MintSubmit {
        intent: intent.clone(),
        integrator: "dev".parse()?,
        accepted_at: System.unix_seconds(),
    };
    gateway
        .publish(Outgoing::from(rig.ctx.sealer.seal(&body, stamp())?))
        .await?;
    await_outcome(&world, &vhost, "escrowed").await?;

    let callback = as_service(Service::Callback)?.publisher();
    let body = MintExecute {
        intent: intent.clone(),
        report: rig.report(&paid_body(&intent, "150"))?,
    };
    let paid = Instant::now();
    callback
        .publish(Outgoing::from(rig.ctx.sealer.seal(&body, stamp())?))
        .await?;
    eventually(LIMIT, "mined", async || {
        let leg = world.db.sql("select leg from chain_legs")?;
        Ok((leg == "executed").then_some(()))
    })
    .await?;
    println!("paid to mined and seen: {:?}", paid.elapsed());
    await_outcome(&world, &vhost, "executed").await?;
    assert_eq!(world.minted(&ctx.chain, &intent.user).await?, intent.amount.get());
    assert_eq!(
        world
            .db
            .sql("select rpc_connected and problem is null from executor_heartbeats")?,
        "t"
    );
    process.abort();
    Ok(())
}

/// An outcome message lies on its queue.
async fn await_outcome(world: &World, vhost: &testkit::Vhost, outcome: &str) -> Result<()> {
    let found = eventually(LIMIT, outcome, async || {
        let messages = vhost.peek("mint.outcome.v1", 10).await?;
        let wanted = format!(r#"\"outcome\":\"{outcome}\""#);
        let told = messages.iter().filter_map(|message| message["payload"].as_str());
        Ok(told
            .clone()
            .any(|payload| payload.contains(&wanted))
            .then_some(()))
    });
    found.await.with_context(|| {
        world
            .db
            .sql("select command, state, reason from work_items")
            .unwrap_or_default()
    })
}
