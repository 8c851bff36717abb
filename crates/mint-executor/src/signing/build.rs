//! Stores a signed batch in one transaction: locks the rows, verifies the items again, and stores the attempt with its
//! nonce if the call is still the signed one; otherwise items are settled without a signature.

use chain::query::BlockHeader;
use chain::transaction::SignedTransaction;
use domain::command::{AttemptPurpose, Command};
use storage::executor::attempts::NewAttempt;
use storage::executor::legs::ChainLegRow;
use storage::executor::signers::SignerLease;
use storage::executor::{attempts, items, legs, signers};
use storage::{DbTransaction, Pool};

use super::call::CallBuilder;
use super::cancel::CancelRequest;
use super::draft::{BatchDraft, Drafter, SignedCall};
use super::plan::{BatchPlan, Planner};
use super::refused::{RefusalSettler, RefusedItems};
use crate::error::WorkError;
use crate::observe;
use crate::rules::simulation::Simulation;

/// Maximum number of drafts of a batch whose items keep changing, before other commands have their turn.
const MAX_DRAFTS: u32 = 3;

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

/// A committed batch, and the intents that are to be cancelled after it.
#[derive(Debug)]
pub struct BuiltBatch {
    pub result: BatchResult,
    pub cancel: Vec<CancelRequest>,
}

impl BuiltBatch {
    const NOTHING: Self = Self {
        result: BatchResult::Nothing,
        cancel: Vec::new(),
    };
}

pub struct BatchBuilder {
    pub pool: Pool,
    pub drafter: Drafter,
    pub planner: Planner,
    pub calls: CallBuilder,
    pub refusals: RefusalSettler,
}

impl BatchBuilder {
    /// Does everything up to the commit. No bytes have been sent when it returns.
    pub async fn build(
        &self,
        lease: &SignerLease,
        command: Command,
        head: &BlockHeader,
        simulation: &Simulation,
    ) -> Result<BuiltBatch, WorkError> {
        for _ in 0..MAX_DRAFTS {
            let draft = self.drafter.draft(lease, command, head, simulation).await?;
            let Some(draft) = draft else { break };
            let built = self.commit(lease, command, head, simulation, draft).await?;
            if let Some(built) = built {
                return Ok(built);
            }
            observe::signature_discarded(command);
        }
        Ok(BuiltBatch::NOTHING)
    }

    /// Plans the batch again under locks and commits it; `None` when the call differs from the draft's.
    async fn commit(
        &self,
        lease: &SignerLease,
        command: Command,
        head: &BlockHeader,
        simulation: &Simulation,
        draft: BatchDraft,
    ) -> Result<Option<BuiltBatch>, WorkError> {
        let room = self.planner.max_items(command, head)?;
        let mut client = self.pool.get().await?;
        let tx = client.begin().await?;
        let nonce = signers::check(&tx, lease).await?.ok_or(WorkError::NoLease)?;
        let ready = self.planner.lock_ready(&tx, lease, command, room, &draft.items);
        let Some(mut ready) = ready.await? else {
            return Ok(Some(BuiltBatch::NOTHING));
        };
        let plan = self.planner.plan(command, &mut ready, simulation)?;
        let signed = match self.calls.call(command, head, nonce, &plan.members)? {
            None => None,
            Some(call) => match draft.signature_for(&call) {
                None => return Ok(None),
                signed => signed,
            },
        };
        let mut legs = ready.legs;
        items::update(&tx, &plan.changes).await?;
        let refused = self
            .refusals
            .settle(&tx, &lease.signer, head, &mut legs, &plan.refused)
            .await?;
        let mut result = if plan.changes.is_empty() && plan.refused.is_empty() {
            BatchResult::Nothing
        } else {
            BatchResult::WithoutAttempt
        };
        let mut spans = Vec::new();
        if let Some(signed) = signed {
            result = BatchResult::Attempt {
                id: store(&tx, lease, command, &signed, &mut legs).await?,
                items: plan.members.len(),
                full: plan.members.len() >= room,
                signed: signed.bytes,
            };
            spans = signed.spans;
        }
        legs::save(&tx, &legs).await?;
        tx.commit().await?;
        if let BatchResult::Attempt { signed, .. } = &result {
            observe::attempt_stored(command, &spans, nonce, &signed.hash);
        }
        self.report_committed(&plan, &refused);
        let cancel = plan.cancel;
        Ok(Some(BuiltBatch { result, cancel }))
    }

    /// Logs and counts a committed batch, and closes its gates.
    fn report_committed(&self, plan: &BatchPlan, refused: &RefusedItems) {
        for (item, class, text) in &plan.parked {
            observe::item_parked(item, class, text);
        }
        self.refusals.report(refused);
    }
}

/// Stores the attempt with its members, under its nonce.
async fn store(
    tx: &DbTransaction<'_>,
    lease: &SignerLease,
    command: Command,
    signed: &SignedCall,
    legs: &mut [ChainLegRow],
) -> Result<i64, WorkError> {
    let SignedCall { call, bytes, .. } = signed;
    for leg in legs {
        if call.members.iter().any(|(_, id)| *id == leg.intent_id) {
            leg.tx_hash = Some(*bytes.hash.as_bytes());
        }
    }
    let nonce = call.transaction.nonce;
    let new = NewAttempt {
        nonce,
        tx_hash: *bytes.hash.as_bytes(),
        raw_transaction: &bytes.raw,
        purpose: AttemptPurpose::Command(command),
        replaces: None,
        items: &call.members,
    };
    let id = attempts::insert(tx, lease, &new).await?;
    signers::raise_nonce(tx, &lease.signer, nonce + 1).await?;
    Ok(id)
}
