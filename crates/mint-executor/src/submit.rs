//! Signs batches outside any database transaction, stores each in one, and broadcasts it. The commit binds nonce, signed
//! bytes, members and fencing token; only then are the bytes broadcast. After a lost answer `confirm` broadcasts the same
//! bytes again.

mod build;
mod draft;
mod plan;
mod refused;
mod simulation;

use std::sync::Arc;
use std::time::Duration;

use chain::transaction::SignedTransaction;
use chain::{SendOutcome, TxHash};
use domain::command::Command;
use runtime::Stop;
use runtime::halts::Halts;
use storage::executor::attempts;
use storage::executor::signers::SignerLease;
use tokio::sync::watch;
use tokio::time::Instant;

pub use self::build::build;
pub use self::simulation::{Simulation, simulate};

use crate::context::{Context, WorkError};
use crate::signer_handle::{FeeCapWait, SignerHandle};
use crate::{cancel, observe};

const TICK: Duration = Duration::from_millis(250);
/// Consecutive batches without an attempt after which the other commands have their turn.
const MAX_ROUNDS_WITHOUT_ATTEMPT: u32 = 8;

/// The result of one batch.
#[derive(Debug, PartialEq, Eq)]
pub enum BatchResult {
    /// No item was eligible.
    Nothing,
    /// Items ended, or wait, without an attempt; there may be more.
    WithoutAttempt,
    /// An attempt was stored, and is not broadcast yet.
    Attempt {
        id: i64,
        signed: SignedTransaction,
        items: usize,
        full: bool,
    },
}

/// Builds and sends the batches of one signer until the stop.
pub async fn run(ctx: Context, signer: Arc<SignerHandle>, halts: Arc<Halts>, stop: Stop) {
    let mut queues = Command::ALL.map(|command| CommandQueue::new(&ctx, &signer, command, &halts));
    let mut due = None;
    while !stop.is_requested() {
        let tick = due
            .unwrap_or_else(|| Instant::now() + TICK)
            .min(Instant::now() + TICK);
        tokio::select! {
            () = stop.requested() => break,
            () = tokio::time::sleep_until(tick) => {}
            () = signer.work_available.notified() => {
                stop.sleep(ctx.tuning.linger).await;
            }
        }
        due = None;
        for queue in &mut queues {
            due = match queue.submit_ready(&ctx).await {
                Ok(wait) => earliest(due, wait),
                Err(error) => {
                    observe::round_failed("submit", &error);
                    due
                }
            };
        }
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// The batches of one command by one signer.
#[derive(Debug)]
pub struct CommandQueue {
    signer: Arc<SignerHandle>,
    command: Command,
    gate: watch::Receiver<bool>,
    last_batch_at: Option<Instant>,
}

impl CommandQueue {
    pub fn new(ctx: &Context, signer: &Arc<SignerHandle>, command: Command, halts: &Halts) -> Self {
        Self {
            signer: signer.clone(),
            command,
            gate: ctx.breakers.signer_gate(signer, command, halts),
            last_batch_at: None,
        }
    }

    /// Sends every ready batch; returns the time before which nothing more can be ready.
    pub async fn submit_ready(&mut self, ctx: &Context) -> Result<Option<Instant>, WorkError> {
        match self.submit_batches(ctx).await {
            Err(error) => {
                let too_dear = error.fee_above_cap().copied().ok_or(error)?;
                let what = FeeCapWait::Batch(self.command);
                if self.signer.set_waits_for_fees(what, true) {
                    observe::waits_for_fees(self.command, &too_dear);
                }
                Ok(None)
            }
            Ok(wait) => {
                self.end_fee_wait();
                Ok(wait)
            }
        }
    }

    /// Whatever else its work waits for, it does not wait for lower fees.
    fn end_fee_wait(&self) {
        let what = FeeCapWait::Batch(self.command);
        if self.signer.set_waits_for_fees(what, false) {
            observe::no_longer_waits_for_fees(self.command);
        }
    }

    async fn submit_batches(&mut self, ctx: &Context) -> Result<Option<Instant>, WorkError> {
        let mut settled = 0;
        loop {
            if !*self.gate.borrow() || ctx.problem.borrow().is_some() {
                return Ok(None);
            }
            // After a batch that was not full, wait so that more items can arrive.
            if let Some(next) = self.last_batch_at.map(|last| last + ctx.tuning.spacing)
                && Instant::now() < next
            {
                return Ok(Some(next));
            }
            let Some(lease) = self.signer.current_lease() else {
                return Ok(None);
            };
            match submit_batch(ctx, &self.signer, &lease, self.command).await {
                Ok(BatchResult::Attempt { full, .. }) => self.last_batch_at = (!full).then(Instant::now),
                // Let the other commands have their turn; this one continues after them.
                Ok(BatchResult::WithoutAttempt) if settled == MAX_ROUNDS_WITHOUT_ATTEMPT => {
                    return Ok(Some(Instant::now()));
                }
                Ok(BatchResult::WithoutAttempt) => settled += 1,
                Ok(BatchResult::Nothing) => return Ok(None),
                Err(error) => {
                    if matches!(error, WorkError::NoLease) {
                        self.signer.drop_lease_if(&lease);
                    }
                    return Err(error);
                }
            }
        }
    }
}

/// Simulates, builds, commits and broadcasts one batch of a command.
pub async fn submit_batch(
    ctx: &Context,
    signer: &SignerHandle,
    lease: &SignerLease,
    command: Command,
) -> Result<BatchResult, WorkError> {
    let head = (*ctx.head.borrow()).ok_or(WorkError::NoHead)?;
    let Some(simulation) = simulate(ctx, (signer, lease), command, &head).await? else {
        return Ok(BatchResult::Nothing);
    };
    let (built, rest) = build(ctx, (signer, lease), command, (&head, &simulation)).await?;
    if let BatchResult::Attempt { id, signed, .. } = &built {
        broadcast(ctx, *id, (&lease.signer, signed)).await;
    }
    if rest.is_empty() {
        return Ok(built);
    }
    cancel::cancel_intents(ctx, lease, &rest).await?;
    Ok(if built == BatchResult::Nothing {
        BatchResult::WithoutAttempt
    } else {
        built
    })
}

/// Broadcasts stored bytes. Whatever the answer, the rows stay as they are.
pub async fn broadcast(ctx: &Context, attempt: i64, (signer, signed): (&[u8; 20], &SignedTransaction)) {
    let outcome = ctx.chain.send_raw(&signed.raw, signed.hash).await;
    record_send(ctx, signer, signed.hash, &outcome);
    let noted = async { attempts::mark_broadcast(&ctx.pool.get().await?, &[attempt]).await };
    if let Err(error) = noted.await {
        tracing::debug!(error = %domain::error_chain(&error), "the time of a broadcast was not recorded");
    }
}

/// The other signers go on.
fn too_little_gas(ctx: &Context, signer: &[u8; 20]) {
    if let Some(signer) = ctx.signer(signer) {
        signer.role_and_balance.trip("the signer has too little gas");
    }
}

pub fn record_send(ctx: &Context, signer: &[u8; 20], hash: TxHash, outcome: &SendOutcome) {
    use chain::classify::Rejection;
    observe::sent(hash, outcome);
    match outcome {
        SendOutcome::Rejected(Rejection::InsufficientFunds) => too_little_gas(ctx, signer),
        SendOutcome::Unknown(_) => ctx.breakers.rpc.failure("a send was not answered"),
        SendOutcome::Accepted | SendOutcome::AlreadyKnown | SendOutcome::Rejected(_) => {}
    }
}
