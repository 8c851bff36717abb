//! Plans and signs a batch without locking any row, because a token may be slow. `build` checks under locks whether the
//! signature still fits; until then nothing is stored, so nothing may be sent, and a signature that does not fit is
//! discarded.

use std::collections::HashSet;
use std::sync::Arc;

use chain::query::BlockHeader;
use chain::transaction::SignedTransaction;
use domain::command::Command;
use domain::ids::MessageId;
use storage::Pool;
use storage::executor::signers::{self, SignerLease};
use tracing::Span;

use super::call::{BatchCall, CallBuilder};
use super::plan::Planner;
use crate::error::WorkError;
use crate::observe;
use crate::rules::simulation::Simulation;
use crate::state::SignerHandle;

/// A batch call and its signature.
#[derive(Debug)]
pub struct SignedCall {
    pub call: BatchCall,
    pub bytes: SignedTransaction,
    /// Spans of the members.
    pub spans: Vec<Span>,
}

impl SignedCall {
    fn is_for(&self, call: &BatchCall) -> bool {
        self.call == *call
    }
}

#[derive(Debug)]
pub struct BatchDraft {
    /// All items that the plan considered.
    pub items: HashSet<MessageId>,
    signed: Option<SignedCall>,
}

impl BatchDraft {
    /// The signature, if it is for exactly this call.
    pub fn signature_for(self, call: &BatchCall) -> Option<SignedCall> {
        self.signed.filter(|signed| signed.is_for(call))
    }
}

pub struct Drafter {
    pub pool: Pool,
    pub signer: Arc<SignerHandle>,
    pub planner: Planner,
    pub calls: CallBuilder,
}

impl Drafter {
    /// Plans a batch and signs it; `None` when no item is ready.
    pub async fn draft(
        &self,
        lease: &SignerLease,
        command: Command,
        head: &BlockHeader,
        simulation: &Simulation,
    ) -> Result<Option<BatchDraft>, WorkError> {
        let client = self.pool.get().await?;
        let nonce = signers::next_nonce(&client, lease)
            .await?
            .ok_or(WorkError::NoLease)?;
        let Some(mut ready) = self.planner.find_ready(&client, lease, command, head).await? else {
            return Ok(None);
        };
        drop(client);
        let plan = self.planner.plan(command, &mut ready, simulation)?;
        let items = ready.items.iter().map(|item| item.message_id).collect();
        let Some(call) = self.calls.call(command, head, nonce, &plan.members)? else {
            return Ok(Some(BatchDraft { items, signed: None }));
        };
        let spans = plan
            .members
            .iter()
            .map(|(id, member)| {
                observe::sign_span(command, *id, &member.intent, member.traceparent.as_deref())
            })
            .collect();
        let bytes = self.signer.sign(&call.transaction).await?;
        let signed = Some(SignedCall { call, bytes, spans });
        Ok(Some(BatchDraft { items, signed }))
    }
}
