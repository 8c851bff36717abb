//! The executor's steps, one by one: the same methods that the running tasks call, so that a test lets a crash or a lost
//! answer happen exactly where it is meant to.

use std::sync::Arc;
use std::time::Duration;

use chain::query::BlockHeader;
use chain::transaction::SignedTransaction;
use chain::{EndpointStatus, TxHash};
use domain::command::Command;
use messaging::{Delivery, Disposition};
use runtime::Stop;
use storage::executor::attempts::AttemptRow;
use storage::executor::follower::FollowerLease;
use storage::executor::signers::SignerLease;
use tokio::time::Instant;

pub use crate::assembly::ExecutorParts;
pub use crate::commands::CommandBody;
pub use crate::error::WorkError;
pub use crate::signing::{BatchResult, CommandQueue};
pub use crate::state::{ChainView, ExecutorProblem, FeeCapWait, Gates, SignerHandle, SignerHandles};

use crate::assembly::Assembly;
use crate::commands::Intake;
use crate::following::{Follower, FollowerLeaseHolder, HeadWatcher};
use crate::rules::simulation::Simulation;
use crate::signing::NonceManager;
use crate::upkeep::probes;

/// An executor whose steps are taken from outside.
pub struct Executor {
    pub view: ChainView,
    pub gates: Gates,
    pub signers: SignerHandles,
    assembly: Assembly,
    intake: Intake,
    follower: Follower,
    watcher: HeadWatcher,
    follower_lease: FollowerLeaseHolder,
    nonce_managers: Vec<NonceManager>,
}

impl Executor {
    pub fn new(parts: ExecutorParts) -> Self {
        let assembly = Assembly::new(parts);
        Self {
            view: assembly.view.clone(),
            gates: assembly.gates.clone(),
            signers: assembly.signers.clone(),
            intake: assembly.intake(),
            follower: assembly.follower(),
            watcher: assembly.head_watcher(),
            follower_lease: assembly.follower_lease(),
            nonce_managers: assembly
                .signers
                .iter()
                .map(|key| assembly.nonce_manager(key))
                .collect(),
            assembly,
        }
    }

    /// Takes commands in, as the consumer does.
    pub async fn deliver<B: CommandBody>(&self, deliveries: Vec<Delivery<B>>) -> Vec<Disposition> {
        self.intake.consume(deliveries).await
    }

    /// Signs and sends one batch.
    pub async fn step_sign(
        &self,
        key: &Arc<SignerHandle>,
        lease: &SignerLease,
        command: Command,
    ) -> Result<BatchResult, WorkError> {
        self.assembly.batch_signer(key).sign_batch(lease, command).await
    }

    /// Signs and stores one batch without a simulation, up to the commit: nothing is sent.
    pub async fn step_store(
        &self,
        key: &Arc<SignerHandle>,
        lease: &SignerLease,
        command: Command,
        head: &BlockHeader,
    ) -> Result<BatchResult, WorkError> {
        let batches = self.assembly.batch_signer(key);
        let built = batches
            .builder
            .build(lease, command, head, &Simulation::skipped())
            .await?;
        Ok(built.result)
    }

    /// Sends the bytes of a new attempt.
    pub async fn step_broadcast(&self, attempt: i64, signer: &[u8; 20], signed: &SignedTransaction) {
        self.assembly
            .broadcaster()
            .send_new(attempt, signer, signed)
            .await;
    }

    /// Sends stored bytes again; false if they are not what was signed.
    pub async fn step_resend(&self, attempt: &AttemptRow) -> bool {
        self.assembly.broadcaster().send_stored(attempt).await
    }

    /// The queue of one command of a signer, with its gates.
    pub fn command_queue(&self, key: &Arc<SignerHandle>, command: Command) -> CommandQueue {
        self.assembly.command_queue(key, command)
    }

    /// Takes in every block up to the head.
    pub async fn step_block(&mut self, lease: &FollowerLease) -> Result<(), WorkError> {
        self.follower.poll(lease).await
    }

    /// Reads what another executor took in.
    pub async fn step_watch(&mut self) -> Result<(), WorkError> {
        self.watcher.poll().await
    }

    /// Fills gaps and raises fees, for each signer whose lease is held.
    pub async fn step_nonces(&mut self, head: &BlockHeader) -> Result<(), WorkError> {
        for manager in &mut self.nonce_managers {
            if let Some(lease) = manager.signer.current_lease() {
                manager.on_head(&lease, head).await?;
            }
        }
        Ok(())
    }

    /// The hash of the transaction signed for a missing nonce, if it is missing.
    pub async fn step_fill_gap(
        &self,
        key: &Arc<SignerHandle>,
        lease: &SignerLease,
        head: &BlockHeader,
        nonce: u64,
    ) -> Result<Option<TxHash>, WorkError> {
        let filled = self.assembly.replacer(key).fill_gap(lease, head, nonce).await?;
        Ok(filled.map(|attempt| TxHash::from_bytes(attempt.tx_hash)))
    }

    /// The hash of the transaction signed at a higher fee, if the attempt still waits.
    pub async fn step_bump_fee(
        &self,
        key: &Arc<SignerHandle>,
        lease: &SignerLease,
        head: &BlockHeader,
        stuck: &AttemptRow,
    ) -> Result<Option<TxHash>, WorkError> {
        let replaced = self.assembly.replacer(key).bump_fee(lease, head, stuck).await?;
        Ok(replaced.map(|attempt| TxHash::from_bytes(attempt.tx_hash)))
    }

    /// Acquires a signer's lease if it is free.
    pub async fn acquire_lease(&self, key: &Arc<SignerHandle>) -> Result<Option<SignerLease>, WorkError> {
        self.assembly.signer_lease(key).acquire().await
    }

    pub async fn step_signer_lease(&self, key: &Arc<SignerHandle>, now: Instant) -> Result<(), WorkError> {
        self.assembly.signer_lease(key).renew_or_acquire(now).await
    }

    pub async fn step_follower_lease(&self, now: Instant) -> Result<(), WorkError> {
        self.follower_lease.renew_or_acquire(now).await
    }

    /// Publishes again what callback did not acknowledge for that long.
    pub async fn step_redrive(&self, unacknowledged_for: Duration) -> Result<(), WorkError> {
        self.assembly.outcome_redrive().redrive(unacknowledged_for).await
    }

    /// Ends intents that no command would move.
    pub async fn step_end_stranded(&self) -> Result<(), WorkError> {
        self.assembly.stranded_intents().end_stranded().await
    }

    pub async fn compare_endpoints(&self) -> Result<Vec<EndpointStatus>, WorkError> {
        self.assembly.endpoint_comparison().compare().await
    }

    pub async fn has_our_blocks(&self) -> Result<bool, WorkError> {
        self.assembly.rewinder().has_our_blocks().await
    }

    /// The task that follows the chain, or watches it, until the stop.
    pub fn following(&self, stop: Stop) -> impl Future<Output = ()> + Send + use<> {
        self.assembly.following_task().run(stop)
    }

    /// The task that closes the breaker of a signer once it signs again.
    pub fn watch_signatures(
        &self,
        key: &Arc<SignerHandle>,
        stop: Stop,
    ) -> impl Future<Output = ()> + Send + use<> {
        probes::watch_signatures(key.clone(), stop)
    }
}
