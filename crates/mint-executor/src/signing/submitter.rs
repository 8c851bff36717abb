//! When a signer signs: whenever work may be ready, a command after the other, while nothing blocks it.

use std::sync::Arc;
use std::time::Duration;

use domain::command::Command;
use runtime::Stop;
use tokio::sync::watch;
use tokio::time::Instant;

use super::batch::BatchSigner;
use super::build::BatchResult;
use crate::error::WorkError;
use crate::observe;
use crate::state::{FeeCapWait, Gates, SignerHandle};

const TICK: Duration = Duration::from_millis(250);
/// Consecutive batches without an attempt after which the other commands have their turn.
const MAX_ROUNDS_WITHOUT_ATTEMPT: u32 = 8;

/// Builds and sends the batches of one signer.
pub struct Submitter {
    pub signer: Arc<SignerHandle>,
    /// How long the first command of a batch waits for others.
    pub linger: Duration,
    pub queues: [CommandQueue; 3],
}

impl Submitter {
    /// Until the stop.
    pub async fn run(mut self, stop: Stop) {
        let mut due = None;
        while !stop.is_requested() {
            let tick = due
                .unwrap_or_else(|| Instant::now() + TICK)
                .min(Instant::now() + TICK);
            tokio::select! {
                () = stop.requested() => break,
                () = tokio::time::sleep_until(tick) => {}
                () = self.signer.work_available() => {
                    stop.sleep(self.linger).await;
                }
            }
            due = None;
            for queue in &mut self.queues {
                due = match queue.submit_ready().await {
                    Ok(wait) => earliest(due, wait),
                    Err(error) => {
                        observe::round_failed("submit", &error);
                        due
                    }
                };
            }
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
pub struct CommandQueue {
    pub batches: Arc<BatchSigner>,
    pub command: Command,
    pub gate: watch::Receiver<bool>,
    pub gates: Gates,
    /// Minimum time between two batches that are not full.
    pub spacing: Duration,
    pub last_batch_at: Option<Instant>,
}

impl CommandQueue {
    /// Sends every ready batch; returns the time before which nothing more can be ready.
    pub async fn submit_ready(&mut self) -> Result<Option<Instant>, WorkError> {
        match self.submit_batches().await {
            Err(error) => {
                let above_cap = error.fee_above_cap().copied().ok_or(error)?;
                let what = FeeCapWait::Batch(self.command);
                if self.batches.signer.set_waits_for_fees(what, true) {
                    observe::waits_for_fees(self.command, &above_cap);
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
        if self.batches.signer.set_waits_for_fees(what, false) {
            observe::no_longer_waits_for_fees(self.command);
        }
    }

    async fn submit_batches(&mut self) -> Result<Option<Instant>, WorkError> {
        let mut settled = 0;
        loop {
            if !*self.gate.borrow() || self.gates.is_stopped() {
                return Ok(None);
            }
            // After a batch that was not full, wait so that more items can arrive.
            if let Some(next) = self.last_batch_at.map(|last| last + self.spacing)
                && Instant::now() < next
            {
                return Ok(Some(next));
            }
            let Some(lease) = self.batches.signer.current_lease() else {
                return Ok(None);
            };
            match self.batches.sign_batch(&lease, self.command).await {
                Ok(BatchResult::Attempt { full, .. }) => self.last_batch_at = (!full).then(Instant::now),
                // Let the other commands have their turn; this one continues after them.
                Ok(BatchResult::WithoutAttempt) if settled == MAX_ROUNDS_WITHOUT_ATTEMPT => {
                    return Ok(Some(Instant::now()));
                }
                Ok(BatchResult::WithoutAttempt) => settled += 1,
                Ok(BatchResult::Nothing) => return Ok(None),
                Err(error) => {
                    if matches!(error, WorkError::NoLease) {
                        self.batches.signer.drop_lease_if(&lease);
                    }
                    return Err(error);
                }
            }
        }
    }
}
