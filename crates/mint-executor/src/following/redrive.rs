//! Publishes outcomes again that callback never received, as new messages.

use std::time::Duration;

use domain::ids::IntentId;
use messaging::wire::Outcome;
use runtime::Periodic;
use storage::Pool;
use storage::executor::legs::ChainLegRow;
use storage::executor::redrive;

use crate::error::WorkError;
use crate::observe;
use crate::settling::Outcomes;
use crate::settling::outcomes::outcome_for_leg;
use crate::state::ChainView;

const BATCH: u32 = 200;

pub struct OutcomeRedrive {
    pub pool: Pool,
    pub view: ChainView,
    pub outcomes: Outcomes,
    /// How long a leg may stay without an acknowledgement.
    pub unacknowledged_for: Duration,
}

impl Periodic for OutcomeRedrive {
    type Error = WorkError;

    async fn run(&mut self) -> Result<(), WorkError> {
        self.redrive(self.unacknowledged_for).await
    }
}

impl OutcomeRedrive {
    /// Publishes once more the outcomes of legs that have not changed for that long and that callback does not know.
    pub async fn redrive(&self, unacknowledged_for: Duration) -> Result<(), WorkError> {
        if self.view.follower_lease().is_none() {
            return Ok(());
        }
        let mut client = self.pool.get().await?;
        let unheard = redrive::unacknowledged(&client, unacknowledged_for, BATCH).await?;
        if unheard.is_empty() {
            return Ok(());
        }
        let tx = client.begin().await?;
        let outcomes: Vec<(&ChainLegRow, Outcome)> = unheard
            .iter()
            .filter_map(|leg| Some((leg, outcome_for_leg(leg)?)))
            .collect();
        self.outcomes.push(&tx, &outcomes).await?;
        let ids: Vec<IntentId> = outcomes.iter().map(|(leg, _)| leg.intent_id).collect();
        redrive::record_redrive(&tx, &ids).await?;
        tx.commit().await?;
        self.outcomes.announce();
        observe::outcomes_redriven(outcomes.len());
        Ok(())
    }
}
