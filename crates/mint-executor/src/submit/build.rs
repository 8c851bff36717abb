//! One transaction: the batch is locked, verified, signed and stored with its nonce; or items are settled without one.

use chain::calls;
use chain::transaction::{SignedTransaction, Transaction};
use chain::watch::Header;
use domain::ids::{IntentId, MessageId, Preimage};
use storage::executor::attempts::NewAttempt;
use storage::executor::items::WorkCommand;
use storage::executor::legs::LegRow;
use storage::executor::signers::Lease;
use storage::executor::{attempts, items, legs, signers};
use tracing::Span;

use super::Built;
use super::plan::{self, Member, Plan, Standing};
use super::refuse::{Refused, refuse};
use super::rehearsal::Rehearsal;
use crate::context::{Context, WorkError};
use crate::decide::waiting_legs;
use crate::key::Key;
use crate::undo::Wanted;
use crate::verify::{Order, Verified};
use crate::{batch, observe};

/// Everything up to the commit. Nothing has left the process when it returns.
pub async fn build(
    ctx: &Context,
    (key, lease): (&Key, &Lease),
    command: WorkCommand,
    (head, rehearsal): (&Header, &Rehearsal),
) -> Result<(Built, Vec<Wanted>), WorkError> {
    let room = batch::room(command, &ctx.tuning, head)?;
    let mut client = ctx.pool.get().await?;
    let tx = client.begin().await?;
    let nonce = signers::check(&tx, lease).await?.ok_or(WorkError::NoLease)?;
    let open = attempts::open_count(&tx, &lease.signer, key.used()).await?;
    if open >= key.window(ctx.tuning.max_in_flight) {
        return Ok((Built::Nothing, Vec::new()));
    }
    let found = items::ready(&tx, (command, &waiting_legs(command)), &lease.signer, room).await?;
    if found.is_empty() {
        return Ok((Built::Nothing, Vec::new()));
    }
    let ids: Vec<IntentId> = found.iter().map(|item| item.intent_id).collect();
    let mut legs = legs::lock(&tx, &ids).await?;
    let standing = Standing::read(&tx, lease, &legs).await?;
    let plan = plan::make(ctx, (command, &found), (&mut legs, &standing), rehearsal)?;
    let spans: Vec<Span> = plan
        .members
        .iter()
        .map(|(id, member)| observe::signing(command, *id, member))
        .collect();
    items::update(&tx, &plan.changes).await?;
    let refused = refuse(ctx, &tx, (lease, head), &mut legs, &plan.refused).await?;
    let mut built = if plan.changes.is_empty() && plan.refused.is_empty() {
        Built::Nothing
    } else {
        Built::Settled
    };
    if let Some(data) = calldata(plan.members.iter().map(|(_, member)| member)) {
        let gas_limit = batch::gas_limit(command, plan.members.len());
        let transaction = Transaction {
            chain_id: ctx.policy.chain.chain_id,
            nonce,
            to: ctx.chain.escrow(),
            gas_limit,
            fees: ctx.tuning.fees.market(head.base_fee, gas_limit)?,
            data,
        };
        let signed = transaction.sign(key.signer.as_ref()).await?;
        let id = store(&tx, lease, (command, nonce), (&signed, &plan.members), &mut legs).await?;
        built = Built::Attempt {
            id,
            items: plan.members.len(),
            full: plan.members.len() >= room,
            signed,
        };
    }
    legs::save(&tx, &legs).await?;
    tx.commit().await?;
    if let Built::Attempt { signed, .. } = &built {
        observe::signed(command, &spans, nonce, &signed.hash);
    }
    tell(ctx, &plan, refused);
    Ok((built, plan.undo))
}

/// The attempt with its members, under its nonce.
async fn store(
    tx: &storage::Transaction<'_>,
    lease: &Lease,
    (command, nonce): (WorkCommand, u64),
    (signed, members): (&SignedTransaction, &[Member]),
    legs: &mut [LegRow],
) -> Result<i64, WorkError> {
    let items: Vec<(MessageId, IntentId)> = members
        .iter()
        .map(|(id, member)| (*id, member.intent.intent_id()))
        .collect();
    for leg in legs {
        if items.iter().any(|(_, id)| *id == leg.intent_id) {
            leg.tx_hash = Some(*signed.hash.as_bytes());
        }
    }
    let new = NewAttempt {
        nonce,
        tx_hash: *signed.hash.as_bytes(),
        raw: &signed.raw,
        command: command.name(),
        replaces: None,
        items: &items,
    };
    let id = attempts::insert(tx, lease, &new).await?;
    signers::raise_nonce(tx, &lease.signer, nonce + 1).await?;
    Ok(id)
}

/// What is told of a round once it is committed.
fn tell(ctx: &Context, plan: &Plan, refused: Refused) {
    for (item, class, text) in &plan.parked {
        observe::parked(item, class, text);
    }
    refused.tell(ctx);
    if !plan.refused.is_empty() {
        ctx.relay.now();
    }
}

/// `None` when no item may go.
pub fn calldata<'a>(mut members: impl Iterator<Item = &'a Verified> + Clone) -> Option<Vec<u8>> {
    let intents = members.clone().map(|member| &member.intent);
    Some(match members.next()?.order {
        Order::Submit { .. } => calls::submit_intents(intents),
        Order::Execute => calls::execute_mints(intents.map(Preimage::intent_id)),
        Order::Refund { reason } => calls::refund_intents(intents.map(Preimage::intent_id), reason.as_str()),
    })
}
