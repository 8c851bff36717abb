//! Ends intents that no command would move, for example after an operator discarded a parked deposit.

use std::time::Duration;

use runtime::Stop;
use storage::Pool;
use storage::executor::redrive;

use super::cancel::{CancelRequest, Canceller};
use crate::error::WorkError;
use crate::observe;
use crate::state::SignerHandles;

const BATCH: u32 = 200;

pub struct StrandedIntents {
    pub pool: Pool,
    pub signers: SignerHandles,
    pub canceller: Canceller,
    pub payment_window: Duration,
    /// The time between two rounds.
    pub every: Duration,
}

impl StrandedIntents {
    pub async fn run(self, stop: Stop) {
        while stop.sleep(self.every).await {
            if let Err(error) = self.end_stranded().await {
                observe::round_failed("end", &error);
            }
        }
    }

    /// After the payment window nothing may be deposited. Without a record on chain such intents become dropped or
    /// rejected, and a payer is owed the money.
    pub async fn end_stranded(&self) -> Result<(), WorkError> {
        let Some(lease) = self.signers.any_lease() else {
            return Ok(());
        };
        let client = self.pool.get().await?;
        let stranded = redrive::stranded(&client, self.payment_window, BATCH).await?;
        drop(client);
        if stranded.is_empty() {
            return Ok(());
        }
        let wanted: Vec<CancelRequest> = stranded.into_iter().map(CancelRequest::without_item).collect();
        self.canceller.cancel(&lease, &wanted).await
    }
}
