//! The reconcile pass: compares payments, intents, chain legs and escrow events, and accounts for every paid shilling.

use std::time::Duration;

use domain::fate::FateTotals;
use storage::callback::reconcile::{self, DifferenceRow};
use storage::{Pool, StorageError};

use crate::observe;
use crate::state::AppState;

/// Maximum number of differences kept of each kind.
const MAX_DIFFERENCES: u32 = 1000;

#[derive(Clone, Debug)]
pub struct ReconcileSummary {
    pub differences: Vec<DifferenceRow>,
    pub money: FateTotals,
}

/// Runs one pass. Rows younger than `min_age` are not compared, because related rows may still be on their way.
pub async fn pass(pool: &Pool, min_age: Duration) -> Result<ReconcileSummary, StorageError> {
    let mut client = pool.get().await?;
    let differences = reconcile::differences(&client, min_age, MAX_DIFFERENCES).await?;
    let money = storage::fate::totals(&client).await?;
    let tx = client.begin().await?;
    reconcile::replace(&tx, &differences).await?;
    tx.commit().await?;
    Ok(ReconcileSummary { differences, money })
}

/// Runs a pass and publishes what it found.
pub async fn run(state: &AppState) -> Result<(), StorageError> {
    let min_age = Duration::from_secs(state.windows.redrive_seconds) * 2;
    let summary = pass(&state.pool, min_age).await?;
    let at = state.clock.now().unix_timestamp();
    observe::reconciled(&summary.differences, &summary.money, at);
    Ok(())
}
