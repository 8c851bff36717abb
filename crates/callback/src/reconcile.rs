//! The reconcile pass: compares payments, intents, chain legs and escrow events, and accounts for every paid shilling.

use std::sync::Arc;
use std::time::Duration;

use runtime::Stop;
use storage::callback::reconcile::{self, DifferenceRow, PaymentTotals};
use storage::{Pool, StorageError};

use crate::observe;
use crate::state::AppState;

const INTERVAL: Duration = Duration::from_mins(1);
/// Maximum number of differences kept of each kind.
const MAX_DIFFERENCES: u32 = 1000;

#[derive(Clone, Debug)]
pub struct ReconcileSummary {
    pub differences: Vec<DifferenceRow>,
    pub money: PaymentTotals,
}

/// Runs one pass. Rows younger than `min_age` are not compared, because related rows may still be on their way.
pub async fn pass(pool: &Pool, min_age: Duration) -> Result<ReconcileSummary, StorageError> {
    let mut client = pool.get().await?;
    let differences = reconcile::differences(&client, min_age, MAX_DIFFERENCES).await?;
    let money = reconcile::payment_totals(&client).await?;
    let tx = client.begin().await?;
    reconcile::replace(&tx, &differences).await?;
    tx.commit().await?;
    Ok(ReconcileSummary { differences, money })
}

/// Runs a pass now and then every minute, until the stop.
pub async fn run(state: Arc<AppState>, stop: Stop) {
    let min_age = Duration::from_secs(state.windows.redrive_seconds) * 2;
    loop {
        match pass(&state.pool, min_age).await {
            Ok(summary) => {
                let at = state.clock.now().unix_timestamp();
                observe::reconciled(&summary.differences, &summary.money, at);
            }
            Err(error) => observe::sweep_failed("reconcile", &error),
        }
        if !stop.sleep(INTERVAL).await {
            return;
        }
    }
}
