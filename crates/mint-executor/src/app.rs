//! Builds the executor and starts its tasks.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use chain::ChainClient;
use domain::address::Address;
use messaging::wire::{MintExecute, MintRefund, MintSubmit};
use messaging::{Consumer, ConsumerConfig, Service};
use runtime::Process;
use storage::Outbox;

use crate::assembly::{Assembly, ExecutorParts};
use crate::commands::CommandBody;
use crate::following::FollowerLeaseHolder;
use crate::observe;
use crate::settings::{ExecutorSettings, IDLE_IN_TRANSACTION};
use crate::signing::SignerLeaseHolder;
use crate::state::ExecutorProblem;
use crate::upkeep::DeploymentCheck;

/// The executor, built and not yet running.
pub struct App {
    process: Process,
    rooms: Assembly,
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
    let ids = process.ids();
    let rooms = Assembly::new(ExecutorParts {
        instance: ids.uuid(),
        pool: process.pool.clone(),
        chain: ChainClient::new(&rpc, escrow)?,
        signers,
        policy: process.settings.limits.policy.clone(),
        tuning: settings.tuning,
        keys: process.keys.clone(),
        opener: process.opener(),
        sealer: process.sealer(),
        publisher: process.publisher.clone(),
        clock: process.clock(),
        ids,
        relay,
        halts: process.halts.clone(),
        problem: Some(ExecutorProblem::NotChecked(
            "the deployment is not checked yet".into(),
        )),
    });
    for signer in rooms.signers.iter() {
        observe::fee_capped(&signer.address(), false);
    }
    tracing::info!(keys = ?rooms.signers, %escrow, database = %process.pool.endpoint(), "built");
    Ok(App {
        process,
        rooms,
        treasury: settings.contracts.treasury,
    })
}

impl App {
    /// Where metrics and health are served.
    pub fn admin_addr(&self) -> Option<std::net::SocketAddr> {
        self.process.addresses.addr("admin")
    }

    pub async fn run_until_stopped(mut self) -> anyhow::Result<()> {
        self.add_checks();
        self.spawn_consumer::<MintSubmit>("mint.submit consumer");
        self.spawn_consumer::<MintExecute>("mint.execute consumer");
        self.spawn_consumer::<MintRefund>("mint.refund consumer");
        let (rooms, tasks) = (&self.rooms, &mut self.process.tasks);
        let stop = tasks.stop();
        rooms.probes().spawn(tasks);
        for signer in rooms.signers.iter() {
            tasks.spawn("submit", rooms.submitter(signer).run(stop.clone()));
            let nonces = rooms.nonce_manager(signer);
            tasks.spawn("nonces", nonces.run(rooms.view.clone(), stop.clone()));
        }
        tasks.spawn("endpoints", rooms.endpoint_comparison().run(stop.clone()));
        tasks.spawn("confirm", rooms.following_task().run(stop.clone()));
        tasks.spawn("park", rooms.dead_letters().run(stop.clone()));
        tasks.spawn("redrive", rooms.outcome_redrive().run(stop.clone()));
        tasks.spawn("stranded", rooms.stranded_intents().run(stop.clone()));
        tasks.spawn("heartbeat", rooms.heartbeat().run(stop.clone()));
        let leases = Leases {
            check: rooms.deployment_check(self.treasury),
            signers: rooms
                .signers
                .iter()
                .map(|signer| rooms.signer_lease(signer))
                .collect(),
            follower: rooms.follower_lease(),
        };
        tasks.spawn("lease", leases.run(stop.clone()));
        tasks.spawn("inbox", rooms.inbox_purge().run(stop));
        self.process.stop_on_signals()?;
        self.process.run_until_stopped().await?;
        Ok(())
    }

    /// Consumes while this process holds the lease of a signer that can work, and no breaker or halt blocks the command.
    fn spawn_consumer<B: CommandBody>(&mut self, name: &'static str) {
        let config = ConsumerConfig {
            prefetch: 512,
            max_batch: 128,
            linger: Duration::from_millis(2),
        };
        let consumer = Consumer::<B>::new(self.process.consumer_parts(), config);
        let token = self.process.stop().token();
        let (intake, gates) = (Arc::new(self.rooms.intake()), self.rooms.gates.clone());
        let halts = self.process.halts.clone();
        self.process.tasks.spawn(name, async move {
            let open = gates.intake_gate(B::COMMAND, &halts);
            let handler = move |deliveries| {
                let intake = intake.clone();
                async move { intake.consume::<B>(deliveries).await }
            };
            consumer.run(handler, open, token).await;
        });
    }

    fn add_checks(&self) {
        let gates = self.rooms.gates.clone();
        self.process.health.add("deployment", move || {
            let problem = gates.problem();
            async move { problem.map_or(Ok(()), |problem| Err(problem.to_string())) }
        });
        let chain = self.rooms.chain.clone();
        self.process.health.add("rpc", move || {
            let chain = chain.clone();
            async move {
                chain
                    .latest_header()
                    .await
                    .map(drop)
                    .map_err(|error| error.to_string())
            }
        });
    }
}

/// The leases of this process, which takes none before the deployment is checked, so that nothing is ever signed for a
/// wrong deployment.
struct Leases {
    check: DeploymentCheck,
    signers: Vec<SignerLeaseHolder>,
    follower: FollowerLeaseHolder,
}

impl Leases {
    async fn run(self, stop: runtime::Stop) {
        if !self.check.wait_until_correct(&stop).await {
            return;
        }
        let mut leases = tokio::task::JoinSet::new();
        for signer in self.signers {
            leases.spawn(signer.run(stop.clone()));
        }
        leases.spawn(self.follower.run(stop));
        leases.join_all().await;
    }
}
