//! Builds the executor and starts its tasks.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chain::ChainClient;
use domain::address::Address;
use messaging::wire::{MintExecute, MintRefund, MintSubmit};
use messaging::{Consumer, ConsumerConfig, Service};
use runtime::breaker::Breaker;
use runtime::{Process, gate};
use storage::{Inbox, Outbox};
use tokio::sync::watch;

use crate::breakers::Breakers;
use crate::confirm::{self, nonces};
use crate::consume::{self, CommandBody};
use crate::context::{Context, ContextParts, ExecutorProblem};
use crate::settings::{ExecutorSettings, IDLE_IN_TRANSACTION};
use crate::signer_handle::SignerHandle;
use crate::verify::Verifier;
use crate::{deployment_check, endpoints, heartbeat, lease, observe, park, redrive, submit};

const INBOX_DAYS: u32 = 14;

/// The executor, built and not yet running.
pub struct App {
    process: Process,
    ctx: Context,
    treasury: Address,
}

pub fn build(mut settings: ExecutorSettings) -> anyhow::Result<App> {
    let (rpc, escrow) = (settings.rpc()?, settings.contracts.escrow);
    let signers = settings.signing.open().context("settings")?;
    settings.shared.database_idle_in_transaction = Some(IDLE_IN_TRANSACTION);
    let mut process = Process::build(settings.shared, Service::MintExecutor)?;
    meter::register(observe::METRICS);
    meter::register(chain::observe::METRICS);
    let relay = process.relay(Outbox::Executor, 1);
    let policy = process.settings.limits.policy.clone();
    let chain = ChainClient::new(&rpc, escrow)?;
    let signers: Vec<Arc<SignerHandle>> = signers
        .into_iter()
        .map(|signer| Arc::new(SignerHandle::new(signer)))
        .collect();
    for signer in &signers {
        observe::fee_capped(&signer.address(), false);
    }
    tracing::info!(keys = ?signers, %escrow, database = %process.pool.endpoint(), "built");
    let ids = process.ids();
    let ctx = Context::new(ContextParts {
        instance: ids.uuid(),
        pool: process.pool.clone(),
        chain,
        signers,
        tuning: settings.tuning,
        verifier: Verifier {
            opener: process.opener(),
            keys: process.keys.clone(),
            chain_id: policy.chain.chain_id,
            escrow,
        },
        policy,
        sealer: process.sealer(),
        publisher: process.publisher.clone(),
        clock: process.clock(),
        ids,
        breakers: Breakers::default(),
        relay,
        follower_lease: watch::Sender::new(None),
        head: watch::Sender::new(None),
        node_answer: watch::Sender::new(None),
        problem: watch::Sender::new(Some(ExecutorProblem::NotChecked(
            "the deployment is not checked yet".into(),
        ))),
    });
    Ok(App {
        process,
        ctx,
        treasury: settings.contracts.treasury,
    })
}

impl App {
    pub fn context(&self) -> Context {
        self.ctx.clone()
    }

    /// Where metrics and health are served.
    pub fn admin_addr(&self) -> Option<std::net::SocketAddr> {
        self.process.addresses.addr("admin")
    }

    pub async fn run_until_stopped(mut self) -> anyhow::Result<()> {
        self.add_checks();
        self.spawn_consumer::<MintSubmit>("mint.submit consumer");
        self.spawn_consumer::<MintExecute>("mint.execute consumer");
        self.spawn_consumer::<MintRefund>("mint.refund consumer");
        let (ctx, tasks) = (self.ctx.clone(), &mut self.process.tasks);
        let stop = tasks.stop();
        ctx.breakers.spawn_probes(&ctx, tasks);
        for signer in &ctx.signers {
            let halts = self.process.halts.clone();
            tasks.spawn(
                "submit",
                submit::run(ctx.clone(), signer.clone(), halts, stop.clone()),
            );
            tasks.spawn("nonces", nonces::run(ctx.clone(), signer.clone(), stop.clone()));
        }
        tasks.spawn("endpoints", endpoints::run(ctx.clone(), stop.clone()));
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

    /// Consumes while this process holds the lease of a signer that can work, and no breaker or halt blocks the command.
    fn spawn_consumer<B: CommandBody>(&mut self, name: &'static str) {
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
            let able = ctx.signers.iter().map(|signer| {
                let of_signer = signer.breakers(B::COMMAND).into_iter().map(Breaker::gate);
                gate::all(of_signer.chain([held(signer)]).collect())
            });
            let open = gate::all(vec![
                ctx.breakers.command_gate(B::COMMAND, &halts),
                ctx.breakers.database.gate(),
                gate::any(able.collect()),
            ]);
            let handler = move |deliveries| consume::consume::<B>(ctx.clone(), deliveries);
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
fn held(signer: &SignerHandle) -> watch::Receiver<bool> {
    let (sender, receiver) = watch::channel(signer.current_lease().is_some());
    let mut lease = signer.lease.subscribe();
    tokio::spawn(async move {
        while lease.changed().await.is_ok() {
            let held = lease.borrow_and_update().is_some();
            sender.send_replace(held);
        }
    });
    receiver
}

/// Checks the deployment before it takes any lease, so that nothing is ever signed for a wrong deployment.
async fn lead(ctx: Context, treasury: Address, stop: runtime::Stop) {
    if !deployment_check::wait_until_correct(&ctx, treasury, &stop).await {
        return;
    }
    let mut leases = tokio::task::JoinSet::new();
    for signer in &ctx.signers {
        leases.spawn(lease::run_signer_lease(ctx.clone(), signer.clone(), stop.clone()));
    }
    leases.spawn(lease::run_follower_lease(ctx.clone(), stop.clone()));
    leases.join_all().await;
}

async fn purge(ctx: Context, stop: runtime::Stop) {
    while stop.sleep(Duration::from_hours(1)).await {
        let purged = async { Inbox::Executor.purge(&ctx.pool.get().await?, INBOX_DAYS).await };
        if let Err(error) = purged.await {
            tracing::warn!(error = %domain::error_chain(&error), "the inbox was not purged");
        }
    }
}
