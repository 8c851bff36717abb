//! Ends intents that no command would move, for example after an operator discarded a parked deposit.

use std::time::Duration;

use runtime::Periodic;
use storage::Pool;
use storage::executor::redrive;

use super::cancel::{CancelRequest, Canceller};
use crate::error::WorkError;
use crate::state::SignerHandles;

const BATCH: u32 = 200;

pub struct StrandedIntents {
    pub pool: Pool,
    pub signers: SignerHandles,
    pub canceller: Canceller,
    pub payment_window: Duration,
}

impl Periodic for StrandedIntents {
    type Error = WorkError;

    async fn run(&mut self) -> Result<(), WorkError> {
        match self.end_stranded().await {
            // Another executor has the lease by now, or the follower catches up: the next round sees.
            Err(WorkError::NoLease | WorkError::NoHead) => Ok(()),
            result => result,
        }
    }
}

impl StrandedIntents {
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
