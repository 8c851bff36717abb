//! Plans and signs a batch without locking any row, because a token may be slow. `build` checks under locks whether the
//! signature still fits; until then nothing is stored, so nothing may be sent, and a signature that does not fit is
//! discarded.

use std::collections::HashSet;

use chain::calls;
use chain::fees::FeeAboveCap;
use chain::query::BlockHeader;
use chain::transaction::{EvmTransaction, SignedTransaction};
use domain::command::Command;
use domain::ids::{IntentId, MessageId, Preimage};
use storage::DbSession;
use storage::executor::items::WorkItemRow;
use storage::executor::legs::ChainLegRow;
use storage::executor::signers::SignerLease;
use storage::executor::{attempts, items, legs, signers};
use tracing::Span;

use super::plan::{self, BatchConstraints, BatchMember};
use super::simulation::Simulation;
use crate::context::{Context, WorkError};
use crate::observe;
use crate::rules::batching;
use crate::rules::next_step::waiting_legs;
use crate::signer_handle::SignerHandle;
use crate::verify::{CommandDetails, VerifiedCommand};

/// The items that are ready now, with their legs and constraints.
#[derive(Debug)]
pub struct ReadyItems {
    pub items: Vec<WorkItemRow>,
    pub legs: Vec<ChainLegRow>,
    pub constraints: BatchConstraints,
}

/// `None` when no item is ready. The rows are not locked and may change at once.
pub async fn find_ready(
    ctx: &Context,
    session: &impl DbSession,
    (signer, lease): (&SignerHandle, &SignerLease),
    (command, head): (Command, &BlockHeader),
) -> Result<Option<ReadyItems>, WorkError> {
    let open = attempts::open_count(session, &lease.signer, signer.confirmed_nonce()).await?;
    if open >= signer.in_flight_limit(ctx.tuning.max_in_flight) {
        return Ok(None);
    }
    let room = batching::max_items_at(command, &ctx.tuning, head);
    let page = room.as_ref().map_or(1, |room| *room);
    let items = items::ready(session, command, &waiting_legs(command), &lease.signer, page).await?;
    if nothing_waits(&items) {
        return Ok(None);
    }
    // Fees matter only if there is an item.
    room?;
    let ids: Vec<IntentId> = items.iter().map(|item| item.intent_id).collect();
    let legs = legs::read(session, &ids).await?;
    let constraints = BatchConstraints::read(session, lease, &legs).await?;
    Ok(Some(ReadyItems {
        items,
        legs,
        constraints,
    }))
}

/// The transaction of a batch, and the items in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchCall {
    pub transaction: EvmTransaction,
    pub members: Vec<(MessageId, IntentId)>,
}

impl BatchCall {
    /// `None` without members.
    pub fn build(
        ctx: &Context,
        (command, head): (Command, &BlockHeader),
        nonce: u64,
        members: &[BatchMember],
    ) -> Result<Option<Self>, FeeAboveCap> {
        let Some(data) = calldata(members.iter().map(|(_, member)| member)) else {
            return Ok(None);
        };
        let gas_limit = batching::gas_limit(command, members.len());
        let transaction = EvmTransaction {
            chain_id: ctx.policy.chain.chain_id,
            nonce,
            to: ctx.chain.escrow(),
            gas_limit,
            fees: ctx.tuning.fees().market_fees(head.base_fee, gas_limit)?,
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
pub struct SignedCall {
    pub call: BatchCall,
    pub bytes: SignedTransaction,
    /// Spans of the members.
    pub spans: Vec<Span>,
}

#[derive(Debug)]
pub struct BatchDraft {
    /// All items that the plan considered.
    pub items: HashSet<MessageId>,
    signed: Option<SignedCall>,
}

impl SignedCall {
    fn is_for(&self, call: &BatchCall) -> bool {
        self.call == *call
    }
}

/// No item is there whose fee could be above the cap.
const fn nothing_waits(items: &[WorkItemRow]) -> bool {
    items.is_empty()
}

impl BatchDraft {
    /// Plans a batch and signs it; `None` when no item is ready.
    pub async fn make(
        ctx: &Context,
        (signer, lease): (&SignerHandle, &SignerLease),
        command: Command,
        (head, simulation): (&BlockHeader, &Simulation),
    ) -> Result<Option<Self>, WorkError> {
        let client = ctx.pool.get().await?;
        let nonce = signers::next_nonce(&client, lease)
            .await?
            .ok_or(WorkError::NoLease)?;
        let Some(mut found) = find_ready(ctx, &client, (signer, lease), (command, head)).await? else {
            return Ok(None);
        };
        drop(client);
        let legs = (&mut *found.legs, &found.constraints);
        let plan = plan::plan_batch(ctx, (command, &found.items), legs, simulation)?;
        let items = found.items.iter().map(|item| item.message_id).collect();
        let Some(call) = BatchCall::build(ctx, (command, head), nonce, &plan.members)? else {
            return Ok(Some(Self { items, signed: None }));
        };
        let spans = plan
            .members
            .iter()
            .map(|(id, member)| observe::sign_span(command, *id, member))
            .collect();
        let bytes = signer.sign(&call.transaction).await?;
        let signed = Some(SignedCall { call, bytes, spans });
        Ok(Some(Self { items, signed }))
    }

    /// The signature, if it is for exactly this call.
    pub fn signature_for(self, call: &BatchCall) -> Option<SignedCall> {
        self.signed.filter(|signed| signed.is_for(call))
    }
}

/// `None` without members.
pub fn calldata<'a>(mut members: impl Iterator<Item = &'a VerifiedCommand> + Clone) -> Option<Vec<u8>> {
    let intents = members.clone().map(|member| &member.intent);
    Some(match members.next()?.details {
        CommandDetails::Submit { .. } => calls::submit_intents(intents),
        CommandDetails::Execute => calls::execute_mints(intents.map(Preimage::intent_id)),
        CommandDetails::Refund { reason } => {
            calls::refund_intents(intents.map(Preimage::intent_id), reason.as_str())
        }
    })
}
