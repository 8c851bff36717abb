//! Builds the executor and spawns its tasks.

use std::sync::Arc;
use std::time::Duration;

use chain::ChainClient;
use messaging::wire::{MintExecute, MintRefund, MintSubmit};
use messaging::{Consumer, ConsumerConfig};
use runtime::{Process, StartError, Stop};
use storage::{Inbox, Outbox};

use crate::assembly::{Assembly, ExecutorParts};
use crate::commands::CommandBody;
use crate::following::FollowerLeaseHolder;
use crate::observe;
use crate::settings::ExecutorSettings;
use crate::signing::SignerLeaseHolder;
use crate::state::ExecutorProblem;
use crate::upkeep::DeploymentCheck;

const CONSUMER: ConsumerConfig = ConsumerConfig {
    prefetch: 512,
    max_batch: 128,
    linger: Duration::from_millis(2),
};
const DEAD_LETTERS_PERIOD: Duration = Duration::from_secs(1);
const PURGE_PERIOD: Duration = Duration::from_hours(1);
const INBOX_DAYS: u32 = 14;

/// The executor, put together. Its tasks run on the process.
pub struct App {
    pub assembly: Assembly,
}

/// Opens the signing keys and spawns all tasks. They run when the process does.
pub fn build(settings: &ExecutorSettings, process: &mut Process) -> Result<App, StartError> {
    meter::register(observe::METRICS);
    meter::register(chain::observe::METRICS);
    let assembly = assemble(settings, process)?;
    for signer in assembly.signers.iter() {
        observe::fee_capped(&signer.address(), false);
    }
    let escrow = settings.contracts.escrow;
    tracing::info!(keys = ?assembly.signers, %escrow, database = %process.pool.endpoint(), "built");
    add_checks(&assembly, process);
    consume::<MintSubmit>(&assembly, process, "mint.submit consumer");
    consume::<MintExecute>(&assembly, process, "mint.execute consumer");
    consume::<MintRefund>(&assembly, process, "mint.refund consumer");
    spawn_loops(&assembly, settings, process);
    repeat(&assembly, process);
    Ok(App { assembly })
}

fn assemble(settings: &ExecutorSettings, process: &mut Process) -> Result<Assembly, StartError> {
    let chain = ChainClient::new(&settings.rpc()?, settings.contracts.escrow);
    let relay = process.relay(Outbox::Executor, 1);
    let ids = process.ids();
    Ok(Assembly::new(ExecutorParts {
        instance: ids.uuid(),
        pool: process.pool.clone(),
        chain: chain.map_err(|error| StartError::part("the chain's client", error))?,
        signers: settings.signing.open()?,
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
    }))
}

/// What waits for a block, a command, a lease or a breaker rather than for a period.
fn spawn_loops(assembly: &Assembly, settings: &ExecutorSettings, process: &mut Process) {
    let (stop, tasks) = (process.stop(), &mut process.tasks);
    assembly.probes().spawn(tasks);
    for signer in assembly.signers.iter() {
        tasks.spawn("submit", assembly.submitter(signer).run(stop.clone()));
        let nonces = assembly.nonce_manager(signer);
        tasks.spawn("nonces", nonces.run(assembly.view.clone(), stop.clone()));
    }
    tasks.spawn("confirm", assembly.following_task().run(stop.clone()));
    let signers = assembly.signers.iter();
    let leases = Leases {
        check: assembly.deployment_check(settings.contracts.treasury),
        signers: signers.map(|signer| assembly.signer_lease(signer)).collect(),
        follower: assembly.follower_lease(),
    };
    tasks.spawn("lease", leases.run(stop));
}

fn repeat(assembly: &Assembly, process: &mut Process) {
    if !assembly.chain.has_one_endpoint() {
        process.every(
            "endpoints",
            assembly.comparison_period(),
            assembly.endpoint_comparison(),
        );
    }
    process.every("dead letters", DEAD_LETTERS_PERIOD, assembly.dead_letters());
    process.every("redrive", assembly.redrive_period(), assembly.outcome_redrive());
    process.every("stranded", assembly.redrive_period(), assembly.stranded_intents());
    process.every("heartbeat", assembly.tuning.heartbeat, assembly.heartbeat());
    let pool = assembly.pool.clone();
    process.every("inbox", PURGE_PERIOD, move || {
        let pool = pool.clone();
        async move {
            Inbox::Executor
                .purge(&pool.get().await?, INBOX_DAYS)
                .await
                .map(drop)
        }
    });
}

/// Consumes while this process holds the lease of a signer that can work, and no breaker or halt blocks the command.
fn consume<B: CommandBody>(assembly: &Assembly, process: &mut Process, name: &'static str) {
    let consumer = Consumer::<B>::new(process.consumer_parts(), CONSUMER);
    let token = process.stop().token();
    let (intake, gates) = (Arc::new(assembly.intake()), assembly.gates.clone());
    let halts = process.halts.clone();
    process.tasks.spawn(name, async move {
        let open = gates.intake_gate(B::COMMAND, &halts);
        let handler = move |deliveries| {
            let intake = intake.clone();
            async move { intake.consume::<B>(deliveries).await }
        };
        consumer.run(handler, open, token).await;
    });
}

fn add_checks(assembly: &Assembly, process: &Process) {
    let gates = assembly.gates.clone();
    process.health.add("deployment", move || {
        let problem = gates.problem();
        async move { problem.map_or(Ok(()), |problem| Err(problem.to_string())) }
    });
    let chain = assembly.chain.clone();
    process.health.add("rpc", move || {
        let chain = chain.clone();
        async move {
            let header = chain.latest_header().await;
            header.map(drop).map_err(|error| error.to_string())
        }
    });
}

/// The leases of this process, which takes none before the deployment is checked, so that nothing is ever signed for a
/// wrong deployment.
struct Leases {
    check: DeploymentCheck,
    signers: Vec<SignerLeaseHolder>,
    follower: FollowerLeaseHolder,
}

impl Leases {
    async fn run(self, stop: Stop) {
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
