//! The reconcile pass: payments, intents, chain legs and escrow events held against each other, and every paid
//! shilling accounted for. Runs by itself and from the command line.

use std::sync::Arc;
use std::time::Duration;

use runtime::Stop;
use storage::callback::reconcile::{self, DifferenceRow, PaymentTotals};
use storage::{Pool, StorageError};

use crate::desk::Desk;
use crate::observe;

const EVERY: Duration = Duration::from_mins(1);
/// Most differences kept of each kind.
const LIMIT: u32 = 1000;

#[derive(Clone, Debug)]
pub struct Summary {
    pub differences: Vec<DifferenceRow>,
    pub money: PaymentTotals,
}

/// One pass. Facts younger than `quiet` are still on their way and not compared.
pub async fn pass(pool: &Pool, quiet: Duration) -> Result<Summary, StorageError> {
    let mut client = pool.get().await?;
    let differences = reconcile::differences(&client, quiet, LIMIT).await?;
    let money = reconcile::payment_totals(&client).await?;
    let tx = client.begin().await?;
    reconcile::replace(&tx, &differences).await?;
    tx.commit().await?;
    Ok(Summary { differences, money })
}

/// A pass now and each minute until the stop.
pub async fn run(desk: Arc<Desk>, stop: Stop) {
    let quiet = Duration::from_secs(desk.windows.redrive_seconds) * 2;
    loop {
        match pass(&desk.pool, quiet).await {
            Ok(summary) => {
                let at = desk.clock.now().unix_timestamp();
                observe::reconciled(&summary.differences, &summary.money, at);
            }
            Err(error) => observe::sweep_failed("reconcile", &error),
        }
        if !stop.sleep(EVERY).await {
            return;
        }
    }
}
