//! Stores a signed batch in one transaction: locks the rows, verifies the items again, and stores the attempt with its
//! nonce if the call is still the signed one; otherwise items are settled without a signature.

use chain::query::BlockHeader;
use domain::command::{AttemptPurpose, Command};
use domain::ids::IntentId;
use storage::executor::attempts::NewAttempt;
use storage::executor::legs::ChainLegRow;
use storage::executor::signers::SignerLease;
use storage::executor::{attempts, items, legs, signers};

use super::BatchResult;
use super::draft::{BatchCall, BatchDraft, SignedCall};
use super::plan::{self, BatchConstraints, BatchPlan};
use super::refused::{RefusedItems, settle_refused};
use super::simulation::Simulation;
use crate::cancel::CancelRequest;
use crate::context::{Context, WorkError};
use crate::observe;
use crate::rules::batching;
use crate::rules::next_step::waiting_legs;
use crate::signer_handle::SignerHandle;

/// Maximum number of drafts of a batch whose items keep changing, before other commands have their turn.
const MAX_DRAFTS: u32 = 3;

/// Does everything up to the commit. No bytes have been sent when it returns.
pub async fn build(
    ctx: &Context,
    (signer, lease): (&SignerHandle, &SignerLease),
    command: Command,
    (head, simulation): (&BlockHeader, &Simulation),
) -> Result<(BatchResult, Vec<CancelRequest>), WorkError> {
    for _ in 0..MAX_DRAFTS {
        let draft = BatchDraft::make(ctx, (signer, lease), command, (head, simulation)).await?;
        let Some(draft) = draft else { break };
        let built = commit(ctx, (signer, lease), command, (head, simulation), draft).await?;
        if let Some(built) = built {
            return Ok(built);
        }
        observe::signature_discarded(command);
    }
    Ok((BatchResult::Nothing, Vec::new()))
}

/// Plans the batch again under locks and commits it; `None` when the call differs from the draft's.
async fn commit(
    ctx: &Context,
    (signer, lease): (&SignerHandle, &SignerLease),
    command: Command,
    (head, simulation): (&BlockHeader, &Simulation),
    draft: BatchDraft,
) -> Result<Option<(BatchResult, Vec<CancelRequest>)>, WorkError> {
    let room = batching::max_items_at(command, &ctx.tuning, head)?;
    let mut client = ctx.pool.get().await?;
    let tx = client.begin().await?;
    let nonce = signers::check(&tx, lease).await?.ok_or(WorkError::NoLease)?;
    let open = attempts::open_count(&tx, &lease.signer, signer.confirmed_nonce()).await?;
    if open >= signer.in_flight_limit(ctx.tuning.max_in_flight) {
        return Ok(Some((BatchResult::Nothing, Vec::new())));
    }
    let mut found = items::ready(&tx, command, &waiting_legs(command), &lease.signer, room).await?;
    // Items that arrived since then are for the next batch.
    found.retain(|item| draft.items.contains(&item.message_id));
    if found.is_empty() {
        return Ok(Some((BatchResult::Nothing, Vec::new())));
    }
    let ids: Vec<IntentId> = found.iter().map(|item| item.intent_id).collect();
    let mut legs = legs::lock(&tx, &ids).await?;
    let constraints = BatchConstraints::read(&tx, lease, &legs).await?;
    let plan = plan::plan_batch(ctx, (command, &found), (&mut legs, &constraints), simulation)?;
    let signed = match BatchCall::build(ctx, (command, head), nonce, &plan.members)? {
        None => None,
        Some(call) => match draft.signature_for(&call) {
            None => return Ok(None),
            signed => signed,
        },
    };
    items::update(&tx, &plan.changes).await?;
    let refused = settle_refused(ctx, &tx, (lease, head), &mut legs, &plan.refused).await?;
    let mut built = if plan.changes.is_empty() && plan.refused.is_empty() {
        BatchResult::Nothing
    } else {
        BatchResult::WithoutAttempt
    };
    let mut spans = Vec::new();
    if let Some(signed) = signed {
        built = BatchResult::Attempt {
            id: store(&tx, lease, command, &signed, &mut legs).await?,
            items: plan.members.len(),
            full: plan.members.len() >= room,
            signed: signed.bytes,
        };
        spans = signed.spans;
    }
    legs::save(&tx, &legs).await?;
    tx.commit().await?;
    if let BatchResult::Attempt { signed, .. } = &built {
        observe::attempt_stored(command, &spans, nonce, &signed.hash);
    }
    report_committed(ctx, &plan, refused);
    Ok(Some((built, plan.cancel)))
}

/// Stores the attempt with its members, under its nonce.
async fn store(
    tx: &storage::DbTransaction<'_>,
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

/// Logs and counts a committed batch, and trips its breakers.
fn report_committed(ctx: &Context, plan: &BatchPlan, refused: RefusedItems) {
    for (item, class, text) in &plan.parked {
        observe::item_parked(item, class, text);
    }
    refused.tell(ctx);
    if !plan.refused.is_empty() {
        ctx.relay.notify();
    }
}
