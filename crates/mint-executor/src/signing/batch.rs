//! One batch of a command from the simulation to the broadcast.

use std::sync::Arc;

use domain::command::Command;
use storage::executor::signers::SignerLease;

use super::build::{BatchBuilder, BatchResult};
use super::cancel::Canceller;
use super::simulate::Simulator;
use crate::attempts::Broadcaster;
use crate::error::WorkError;
use crate::state::{ChainView, SignerHandle};

/// Signs and sends the batches of one signer.
pub struct BatchSigner {
    pub signer: Arc<SignerHandle>,
    pub view: ChainView,
    pub simulator: Simulator,
    pub builder: BatchBuilder,
    pub broadcaster: Broadcaster,
    pub canceller: Canceller,
}

impl BatchSigner {
    /// Simulates, builds, commits and broadcasts one batch of a command.
    pub async fn sign_batch(&self, lease: &SignerLease, command: Command) -> Result<BatchResult, WorkError> {
        let head = self.view.known_head()?;
        let Some(simulation) = self.simulator.simulate(lease, command, &head).await? else {
            return Ok(BatchResult::Nothing);
        };
        let built = self.builder.build(lease, command, &head, &simulation).await?;
        if let BatchResult::Attempt { id, signed, .. } = &built.result {
            self.broadcaster.send_new(*id, &lease.signer, signed).await;
        }
        if built.cancel.is_empty() {
            return Ok(built.result);
        }
        self.canceller.cancel(lease, &built.cancel).await?;
        Ok(if built.result == BatchResult::Nothing {
            BatchResult::WithoutAttempt
        } else {
            built.result
        })
    }
}
