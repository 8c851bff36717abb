//! Publishes outcomes to callback: sealed, and in the transaction that stores them.

use domain::intent::{ChainLeg, Finality};
use domain::item_result::LegReason;
use messaging::wire::{MintOutcome, Outcome};
use messaging::{MessageMetadata, WorkQueue};
use runtime::telemetry;
use storage::DbTransaction;
use storage::executor::legs::ChainLegRow;
use storage::outbox::{Outbox, OutboxRow};

use crate::context::{Context, WorkError};
use crate::observe;

/// The outcome that a leg stands for; `None` while callback need not know of it.
pub fn outcome_for_leg(leg: &ChainLegRow) -> Option<Outcome> {
    match leg.leg {
        ChainLeg::Escrowed if leg.reason == Some(LegReason::NOT_COMPLIANT) => Some(Outcome::Refused),
        ChainLeg::Escrowed => Some(Outcome::Escrowed),
        ChainLeg::Executed(Finality::Final) => Some(Outcome::Executed),
        ChainLeg::Refunded(Finality::Final) => Some(Outcome::Refunded),
        ChainLeg::Rejected => Some(Outcome::Rejected),
        ChainLeg::Dropped => Some(Outcome::Dropped),
        _ => None,
    }
}

/// Writes one sealed outcome per leg to the outbox.
pub async fn push_outcomes(
    ctx: &Context,
    tx: &DbTransaction<'_>,
    outcomes: &[(&ChainLegRow, Outcome)],
) -> Result<(), WorkError> {
    let mut rows = Vec::with_capacity(outcomes.len());
    for (leg, outcome) in outcomes {
        rows.extend(row(ctx, leg, *outcome)?);
    }
    Outbox::Executor.push_many(tx, &rows).await?;
    Ok(())
}

fn row(ctx: &Context, leg: &ChainLegRow, outcome: Outcome) -> Result<Option<OutboxRow>, WorkError> {
    let Some(intent) = leg.preimage.clone() else {
        observe::row_tampered("chain_legs", &leg.intent_id);
        return Ok(None);
    };
    let body = MintOutcome {
        intent,
        outcome,
        r#final: leg.leg.is_terminal(),
        sequence: leg.sequence(),
        tx_hash: leg.tx_hash,
        block_number: leg.block_number,
        reason: leg.reason.map(|reason| reason.name().to_owned()),
    };
    let stamp = MessageMetadata {
        message_id: ctx.ids.message_id(),
        causation_id: None,
        at: ctx.clock.now(),
        traceparent: telemetry::traceparent_of(&observe::outcome_span(leg, outcome)),
    };
    let sealed = ctx.sealer.seal(&body, stamp)?;
    observe::outcome_published(outcome);
    Ok(Some(OutboxRow {
        message_id: sealed.message_id,
        queue: WorkQueue::MintOutcome.name(),
        subject: leg.intent_id.to_string(),
        envelope: sealed.bytes,
    }))
}
