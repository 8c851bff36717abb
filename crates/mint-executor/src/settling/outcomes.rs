//! Publishes outcomes to callback: sealed, and in the transaction that stores them.

use std::sync::Arc;

use domain::clock::{Clock, IdSource};
use domain::intent::{ChainLeg, Finality};
use domain::item_result::LegReason;
use messaging::wire::{MintOutcome, Outcome};
use messaging::{MessageMetadata, Sealer, WorkQueue};
use runtime::relay::RelayNotifier;
use runtime::telemetry;
use storage::DbTransaction;
use storage::executor::legs::ChainLegRow;
use storage::executor::{attempts, items, legs};
use storage::outbox::{Outbox, OutboxRow};

use super::effects::Effects;
use crate::error::WorkError;
use crate::observe;
use crate::state::Refusal;

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

#[derive(Clone)]
pub struct Outcomes {
    pub sealer: Sealer,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    /// Wakes the outbox relay.
    pub relay: RelayNotifier,
}

impl Outcomes {
    /// Writes all effects in the transaction that locked the rows, and their outcomes to the outbox. The caller closes the
    /// gates for the returned refusals after the commit.
    pub async fn write_effects(
        &self,
        tx: &DbTransaction<'_>,
        effects: Effects,
    ) -> Result<Vec<Refusal>, WorkError> {
        items::update(tx, &effects.items).await?;
        attempts::set_outcomes(tx, &effects.results).await?;
        let outcomes: Vec<(&ChainLegRow, Outcome)> = effects
            .outcomes
            .iter()
            .filter_map(|(id, outcome)| Some((effects.leg(id)?, *outcome)))
            .collect();
        self.push(tx, &outcomes).await?;
        let refusals = effects.refusals.clone();
        legs::save(tx, &effects.into_legs()).await?;
        Ok(refusals)
    }

    /// Writes one sealed outcome per leg to the outbox.
    pub async fn push(
        &self,
        tx: &DbTransaction<'_>,
        outcomes: &[(&ChainLegRow, Outcome)],
    ) -> Result<(), WorkError> {
        let mut rows = Vec::with_capacity(outcomes.len());
        for (leg, outcome) in outcomes {
            rows.extend(self.row(leg, *outcome)?);
        }
        Outbox::Executor.push_many(tx, &rows).await?;
        Ok(())
    }

    /// The outbox has rows that wait.
    pub fn announce(&self) {
        self.relay.notify();
    }

    fn row(&self, leg: &ChainLegRow, outcome: Outcome) -> Result<Option<OutboxRow>, WorkError> {
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
            message_id: self.ids.message_id(),
            causation_id: None,
            at: self.clock.now(),
            traceparent: telemetry::traceparent_of(&observe::outcome_span(leg, outcome)),
        };
        let sealed = self.sealer.seal(&body, stamp)?;
        observe::outcome_published(outcome);
        Ok(Some(OutboxRow {
            message_id: sealed.message_id,
            queue: WorkQueue::MintOutcome.name(),
            subject: leg.intent_id.to_string(),
            envelope: sealed.bytes,
        }))
    }
}
