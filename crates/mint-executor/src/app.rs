//! Wiring: which tasks run, and when they may.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chain::{Chain, Signer};
use domain::address::Address;
use messaging::wire::{MintExecute, MintRefund, MintSubmit};
use messaging::{Consumer, ConsumerConfig, Service};
use runtime::{Environment, Process, gate};
use storage::{Inbox, Outbox};
use tokio::sync::watch;

use crate::breakers::Breakers;
use crate::collect::{self, Command};
use crate::context::{Context, Problem, Shared};
use crate::settings::ExecutorSettings;
use crate::verify::Verifier;
use crate::{check, confirm, heartbeat, lease, observe, park, redrive, submit};

const INBOX_DAYS: u32 = 14;

/// The executor, built and not yet running.
pub struct App {
    process: Process,
    ctx: Context,
    treasury: Address,
}

pub fn build(environment: &Environment) -> anyhow::Result<App> {
    let settings = ExecutorSettings::read(environment).context("settings")?;
    let mut process = Process::build(settings.process, Service::MintExecutor)?;
    meter::register(observe::METRICS);
    meter::register(chain::observe::METRICS);
    let relay = process.relay(Outbox::Executor, 1);
    let policy = process.settings.policy.clone();
    let chain = Chain::new(&settings.rpc, settings.escrow)?;
    let signer: Arc<dyn Signer> = Arc::new(settings.key);
    tracing::info!(signer = %signer.address(), escrow = %settings.escrow, database = process.pool.endpoint(), "built");
    let ids = process.ids();
    let ctx = Context::new(Shared {
        instance: ids.uuid(),
        pool: process.pool.clone(),
        chain,
        signer,
        tuning: settings.tuning,
        verifier: Verifier {
            opener: process.opener(),
            keys: process.keys.clone(),
            chain_id: policy.chain.chain_id,
            escrow: settings.escrow,
        },
        policy,
        sealer: process.sealer(),
        publisher: process.publisher.clone(),
        clock: process.clock(),
        ids,
        breakers: Breakers::default(),
        work: tokio::sync::Notify::new(),
        relay,
        lease: watch::Sender::new(None),
        head: watch::Sender::new(None),
        seen: watch::Sender::new(None),
        problem: watch::Sender::new(Some(Problem::Unknown("the deployment is not checked yet".into()))),
    });
    Ok(App {
        process,
        ctx,
        treasury: settings.treasury,
    })
}

impl App {
    pub fn context(&self) -> Context {
        self.ctx.clone()
    }

    /// Where metrics and health are served.
    pub fn admin_addr(&self) -> Option<std::net::SocketAddr> {
        self.process.listening.addr("admin")
    }

    pub async fn run_until_stopped(mut self) -> anyhow::Result<()> {
        self.add_checks();
        self.spawn_consumer::<MintSubmit>("mint.submit consumer");
        self.spawn_consumer::<MintExecute>("mint.execute consumer");
        self.spawn_consumer::<MintRefund>("mint.refund consumer");
        let (ctx, tasks) = (self.ctx.clone(), &mut self.process.tasks);
        let stop = tasks.stop();
        ctx.breakers.spawn(&ctx, tasks);
        let halts = self.process.halts.clone();
        tasks.spawn("submit", submit::run(ctx.clone(), halts, stop.clone()));
        tasks.spawn("confirm", confirm::run(ctx.clone(), stop.clone()));
        tasks.spawn("park", park::run(ctx.clone(), stop.clone()));
        tasks.spawn("redrive", redrive::run(ctx.clone(), stop.clone()));
        tasks.spawn("heartbeat", heartbeat::run(ctx.clone(), stop.clone()));
        tasks.spawn("lease", lead(ctx.clone(), self.treasury, stop.clone()));
        tasks.spawn("inbox", purge(ctx, stop));
        self.process.stop_on_signals()?;
        self.process.run_until_stopped().await?;
        Ok(())
    }

    /// Consumes while the lease is held and nothing stands in the command's way.
    fn spawn_consumer<B: Command>(&mut self, name: &'static str) {
        let ctx = self.ctx.clone();
        let config = ConsumerConfig {
            prefetch: 512,
            max_batch: 128,
            linger: Duration::from_millis(2),
        };
        let consumer = Consumer::<B>::new(self.process.consumer_parts(), config);
        let token = self.process.stop().token();
        let halts = self.process.halts.clone();
        self.process.tasks.spawn(name, async move {
            let open = gate::all(vec![
                ctx.breakers.submit_gate(B::COMMAND, &halts),
                ctx.breakers.database.gate(),
                held(&ctx),
            ]);
            let handler = move |deliveries| collect::collect::<B>(ctx.clone(), deliveries);
            consumer.run(handler, open, token).await;
        });
    }

    fn add_checks(&self) {
        let ctx = self.ctx.clone();
        self.process.health.add("deployment", move || {
            let problem = ctx.problem.borrow().clone();
            async move { problem.map_or(Ok(()), |problem| Err(problem.to_string())) }
        });
        let ctx = self.ctx.clone();
        self.process.health.add("rpc", move || {
            let ctx = ctx.clone();
            async move {
                ctx.chain
                    .latest_header()
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            }
        });
    }
}

/// True while the lease is held.
fn held(ctx: &Context) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(ctx.lease_now().is_some());
    let mut lease = ctx.lease.subscribe();
    tokio::spawn(async move {
        while lease.changed().await.is_ok() {
            let held = lease.borrow_and_update().is_some();
            sender.send_replace(held);
        }
    });
    receiver
}

/// First the deployment, then the lease: a wrong deployment is never led.
async fn lead(ctx: Context, treasury: Address, stop: runtime::Stop) {
    if check::until_right(&ctx, treasury, &stop).await {
        lease::run(ctx, stop).await;
    }
}

async fn purge(ctx: Context, stop: runtime::Stop) {
    while stop.sleep(Duration::from_hours(1)).await {
        let purged = async { Inbox::Executor.purge(&ctx.pool.get().await?, INBOX_DAYS).await };
        if let Err(error) = purged.await {
            tracing::warn!(error = %runtime::chain(&error), "the inbox was not purged");
        }
    }
}
