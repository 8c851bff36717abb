//! Plans and signs a batch without locking any row, because a token may be slow. `build` checks under locks whether the
//! signature still fits; until then nothing is stored, so nothing may be sent, and a signature that does not fit is
//! discarded.

use std::collections::HashSet;

use chain::calls;
use chain::fees::TooDear;
use chain::transaction::{SignedTransaction, Transaction};
use chain::watch::Header;
use domain::ids::{IntentId, MessageId, Preimage};
use storage::Session;
use storage::executor::items::{ItemRow, WorkCommand};
use storage::executor::legs::LegRow;
use storage::executor::signers::Lease;
use storage::executor::{attempts, items, legs, signers};
use tracing::Span;

use super::plan::{self, Member, Standing};
use super::rehearsal::Rehearsal;
use crate::context::{Context, WorkError};
use crate::decide::waiting_legs;
use crate::key::Key;
use crate::verify::{Order, Verified};
use crate::{batch, observe};

/// The items that are ready now, with their legs and constraints.
#[derive(Debug)]
pub struct Found {
    pub items: Vec<ItemRow>,
    pub legs: Vec<LegRow>,
    pub standing: Standing,
}

/// `None` when no item is ready. The rows are not locked and may change at once.
pub async fn look(
    ctx: &Context,
    session: &impl Session,
    (key, lease): (&Key, &Lease),
    (command, head): (WorkCommand, &Header),
) -> Result<Option<Found>, WorkError> {
    let open = attempts::open_count(session, &lease.signer, key.used()).await?;
    if open >= key.window(ctx.tuning.max_in_flight) {
        return Ok(None);
    }
    let room = batch::room(command, &ctx.tuning, head);
    let page = room.as_ref().map_or(1, |room| *room);
    let items = items::ready(session, (command, &waiting_legs(command)), &lease.signer, page).await?;
    if items.is_empty() {
        return Ok(None);
    }
    // Fees matter only if there is an item.
    room?;
    let ids: Vec<IntentId> = items.iter().map(|item| item.intent_id).collect();
    let legs = legs::read(session, &ids).await?;
    let standing = Standing::read(session, lease, &legs).await?;
    Ok(Some(Found {
        items,
        legs,
        standing,
    }))
}

/// The transaction of a batch, and the items in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    pub transaction: Transaction,
    pub members: Vec<(MessageId, IntentId)>,
}

impl Call {
    /// `None` without members.
    pub fn of(
        ctx: &Context,
        (command, head): (WorkCommand, &Header),
        nonce: u64,
        members: &[Member],
    ) -> Result<Option<Self>, TooDear> {
        let Some(data) = calldata(members.iter().map(|(_, member)| member)) else {
            return Ok(None);
        };
        let gas_limit = batch::gas_limit(command, members.len());
        let transaction = Transaction {
            chain_id: ctx.policy.chain.chain_id,
            nonce,
            to: ctx.chain.escrow(),
            gas_limit,
            fees: ctx.tuning.fees.market(head.base_fee, gas_limit)?,
            data,
        };
        let members = members
            .iter()
            .map(|(id, member)| (*id, member.intent.intent_id()))
            .collect();
        Ok(Some(Self { transaction, members }))
    }
}

/// A batch call and its signature.
#[derive(Debug)]
pub struct Signed {
    pub call: Call,
    pub bytes: SignedTransaction,
    /// Spans of the members.
    pub spans: Vec<Span>,
}

#[derive(Debug)]
pub struct Draft {
    /// All items that the plan considered.
    pub items: HashSet<MessageId>,
    signed: Option<Signed>,
}

impl Draft {
    /// Plans a batch and signs it; `None` when no item is ready.
    pub async fn make(
        ctx: &Context,
        (key, lease): (&Key, &Lease),
        command: WorkCommand,
        (head, rehearsal): (&Header, &Rehearsal),
    ) -> Result<Option<Self>, WorkError> {
        let client = ctx.pool.get().await?;
        let nonce = signers::next_nonce(&client, lease)
            .await?
            .ok_or(WorkError::NoLease)?;
        let Some(mut found) = look(ctx, &client, (key, lease), (command, head)).await? else {
            return Ok(None);
        };
        drop(client);
        let legs = (&mut *found.legs, &found.standing);
        let plan = plan::make(ctx, (command, &found.items), legs, rehearsal)?;
        let items = found.items.iter().map(|item| item.message_id).collect();
        let Some(call) = Call::of(ctx, (command, head), nonce, &plan.members)? else {
            return Ok(Some(Self { items, signed: None }));
        };
        let spans = plan
            .members
            .iter()
            .map(|(id, member)| observe::signing(command, *id, member))
            .collect();
        let bytes = key.sign(&call.transaction).await?;
        let signed = Some(Signed { call, bytes, spans });
        Ok(Some(Self { items, signed }))
    }

    /// The signature, if it is for exactly this call.
    pub fn of(self, call: &Call) -> Option<Signed> {
        self.signed.filter(|signed| signed.call == *call)
    }
}

/// `None` without members.
pub fn calldata<'a>(mut members: impl Iterator<Item = &'a Verified> + Clone) -> Option<Vec<u8>> {
    let intents = members.clone().map(|member| &member.intent);
    Some(match members.next()?.order {
        Order::Submit { .. } => calls::submit_intents(intents),
        Order::Execute => calls::execute_mints(intents.map(Preimage::intent_id)),
        Order::Refund { reason } => calls::refund_intents(intents.map(Preimage::intent_id), reason.as_str()),
    })
}
