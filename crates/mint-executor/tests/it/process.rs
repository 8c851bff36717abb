//! The whole process with a real broker: consumers, submitter, confirmer, relay, lease, heartbeat.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use chain::{ChainClient, RpcConfig};
use domain::clock::{Clock, IdSource, SystemSource};
use domain::ids::Preimage;
use messaging::wire::{MintExecute, MintSubmit};
use messaging::{Broker, BrokerConfig, MessageMetadata, Outgoing, Publisher, Service};
use mint_executor::settings::ExecutorSettings;
use runtime::{Environment, Process};
use testkit::anvil::{EXECUTOR_PRIVATE_KEY, Mining};
use testkit::{Anvil, Servers, Vhost, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use crate::rig::{TestExecutor, paid_body};
use crate::world::{COMPLIANT, TestEnvironment};

const LIMIT: Duration = Duration::from_secs(90);

/// A running executor with the publishers and readers of its queues.
struct Running {
    world: TestEnvironment,
    /// Signs and seals; the process beside it has the same keys and database.
    rig: TestExecutor,
    chain: ChainClient,
    vhost: Vhost,
    gateway: Publisher,
    callback: Publisher,
    admin: std::net::SocketAddr,
    process: JoinHandle<Result<()>>,
    _node: Anvil,
}

impl Running {
    async fn start() -> Result<Self> {
        let (node, at) = Anvil::deployed(Mining::Every(1.0)).await?;
        let world = TestEnvironment::new().await?;
        let vhost = Servers::shared()?.vhost().await?;
        let as_service = |service| {
            Broker::new(BrokerConfig {
                url: vhost.url().into(),
                service,
                version: "test".into(),
                ca_pem: None,
            })
        };
        messaging::topology::declare_all(&as_service(Service::Ops)?).await?;
        let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/policy.json");
        let environment: Environment = [
            ("DATABASE_URL", world.db_url.clone()),
            ("AMQP_URL", vhost.url()),
            ("RPC_URLS", node.url()),
            ("FIATRAILS_KEYS_DIR", world.keys_dir("mint-executor")),
            ("FIATRAILS_POLICY_FILE", policy.to_owned()),
            ("ESCROW_ADDRESS", at.escrow.clone()),
            ("TREASURY_ADDRESS", at.treasury.clone()),
            ("EXECUTOR_PRIVATE_KEY", EXECUTOR_PRIVATE_KEY.to_owned()),
        ]
        .into_iter()
        .collect();
        let settings: ExecutorSettings = environment.read()?;
        let mut process = Process::of(&settings)?;
        mint_executor::app::build(&settings, &mut process)?;
        Ok(Self {
            rig: world.executor().build()?,
            chain: ChainClient::new(
                &RpcConfig::new(vec![node.url().into()], LIMIT),
                at.escrow.parse()?,
            )?,
            gateway: Publisher::new(&as_service(Service::Gateway)?),
            callback: Publisher::new(&as_service(Service::Callback)?),
            admin: process.addresses.addr("admin").context("the admin port")?,
            process: tokio::spawn(async move { Ok(process.run_until_stopped().await?) }),
            vhost,
            world,
            _node: node,
        })
    }

    async fn allow(&self, intent: &Preimage) -> Result<()> {
        let manager = self.world.at.compliance_manager.parse()?;
        let (officer, chain) = (&self.world.admin, &self.chain);
        chain
            .set_user_compliance(officer, &manager, &intent.user, &COMPLIANT, LIMIT)
            .await?;
        Ok(())
    }

    async fn submit(&self, intents: &[Preimage]) -> Result<()> {
        let sealed = intents.iter().map(|intent| {
            let body = MintSubmit {
                intent: intent.clone(),
                integrator: "dev".parse()?,
                accepted_at: SystemSource.unix_seconds(),
            };
            Ok(Outgoing::from(self.rig.sealer.seal(&body, stamp())?))
        });
        publish(&self.gateway, sealed.collect::<Result<_>>()?).await
    }

    async fn execute(&self, intents: &[Preimage], shillings: &str) -> Result<()> {
        let sealed = intents.iter().map(|intent| {
            let report = self.rig.report(&paid_body(intent, shillings))?;
            let body = MintExecute {
                intent: intent.clone(),
                report,
            };
            Ok(Outgoing::from(self.rig.sealer.seal(&body, stamp())?))
        });
        publish(&self.callback, sealed.collect::<Result<_>>()?).await
    }

    async fn until_legs(&self, leg: &str, count: usize) -> Result<()> {
        let sql = format!("select count(*) from chain_legs where leg = '{leg}'");
        let found = eventually(LIMIT, leg, async || {
            Ok((self.world.count(&sql)? == u64::try_from(count)?).then_some(()))
        });
        found.await.with_context(|| {
            let rows = "select command, state, reason, count(*) from work_items group by 1, 2, 3";
            self.world.db.sql(rows).unwrap_or_default()
        })
    }

    /// An outcome message lies on its queue.
    async fn until_published(&self, outcome: &str) -> Result<()> {
        let wanted = format!(r#"\"outcome\":\"{outcome}\""#);
        eventually(LIMIT, outcome, async || {
            let messages = self.vhost.peek("mint.outcome.v1", 10).await?;
            let mut published_outcomes = messages.iter().filter_map(|message| message["payload"].as_str());
            Ok(published_outcomes
                .any(|payload| payload.contains(&wanted))
                .then_some(()))
        })
        .await
    }

    /// Sum over the labels of one counter on the admin port.
    async fn counter(&self, name: &str) -> Result<f64> {
        let mut stream = tokio::net::TcpStream::connect(self.admin).await?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let lines = text.lines().filter(|line| line.starts_with(name));
        Ok(lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.abort();
    }
}

fn stamp() -> MessageMetadata {
    MessageMetadata {
        message_id: SystemSource.message_id(),
        causation_id: None,
        at: SystemSource.now(),
        traceparent: None,
    }
}

async fn publish(publisher: &Publisher, messages: Vec<Outgoing>) -> Result<()> {
    for result in publisher.publish_many(messages).await {
        result?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_takes_commands_from_the_broker_and_publishes_outcomes() -> Result<()> {
    let run = Running::start().await?;
    let intent = run.world.intent(1)?;
    run.allow(&intent).await?;
    let one = std::slice::from_ref(&intent);
    run.submit(one).await?;
    run.until_published("escrowed").await?;
    let paid = Instant::now();
    run.execute(one, "150").await?;
    run.until_legs("executed", 1).await?;
    println!("paid to mined and seen: {:?}", paid.elapsed());
    run.until_published("executed").await?;
    assert_eq!(
        run.world.minted(&run.chain, &intent.user).await?,
        intent.amount.get()
    );
    let beat = "select rpc_connected and blocked_reason is null from executor_heartbeats";
    assert_eq!(run.world.db.sql(beat)?, "t");
    let most = f64::from(u32::try_from(run.rig.tuning.max_in_flight)?);
    let limit = run.counter("fiatrails_signer_in_flight_limit_max").await?;
    ensure!(
        (limit - most).abs() < 0.5,
        "the window's limit is shown as {limit}"
    );
    let window = run.counter("fiatrails_signer_in_flight_limit{").await?;
    ensure!((1.0..=most).contains(&window), "the window is shown as {window}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_mints_cost_few_calls_to_the_node() -> Result<()> {
    const MINTS: u32 = 512;
    let run = Running::start().await?;
    let first = run.world.intent(1)?;
    run.allow(&first).await?;
    // One user: all of it within the contract's daily limit.
    let intents: Vec<Preimage> = (0..MINTS)
        .map(|n| {
            Ok(Preimage {
                amount: "30000000000000000000".parse()?,
                tx_ref: format!("MANY{n}").parse()?,
                ..first.clone()
            })
        })
        .collect::<Result<_>>()?;
    let (calls, sends) = ("fiatrails_rpc_requests_total", "fiatrails_sends_total");
    let before = run.counter(calls).await?;
    let started = Instant::now();
    run.submit(&intents).await?;
    run.until_legs("escrowed", intents.len()).await?;
    let escrowed = started.elapsed();
    run.execute(&intents, "30").await?;
    run.until_legs("executed", intents.len()).await?;
    let all = started.elapsed();
    let (calls, sends) = (run.counter(calls).await? - before, run.counter(sends).await?);
    let mints = f64::from(MINTS);
    println!(
        "{MINTS} deposits in {escrowed:?}, mints in {:?}; a mint: {:.3} calls, {:.3} sends",
        all.saturating_sub(escrowed),
        calls / mints,
        sends / mints
    );
    // Polls of the head depend on time and not on the number of mints; sends depend on the mints.
    assert!(sends / mints <= 0.1, "{sends} sends");
    let attempts = run.world.count("select count(*) from attempts")?;
    assert!(
        attempts <= u64::from(MINTS) / 64 * 2 + 8,
        "{attempts} transactions"
    );
    let total = intents.len() as u128 * 30_000_000_000_000_000_000;
    assert_eq!(run.world.minted(&run.chain, &first.user).await?, total);
    Ok(())
}
