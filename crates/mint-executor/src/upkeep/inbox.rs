//! Deletes old rows of the inbox.

use std::time::Duration;

use runtime::Stop;
use storage::{Inbox, Pool, StorageError};

const DAYS: u32 = 14;
const EVERY: Duration = Duration::from_hours(1);

pub struct InboxPurge {
    pub pool: Pool,
}

impl InboxPurge {
    pub async fn run(self, stop: Stop) {
        while stop.sleep(EVERY).await {
            if let Err(error) = self.once().await {
                tracing::warn!(error = %domain::error_chain(&error), "the inbox was not purged");
            }
        }
    }

    async fn once(&self) -> Result<(), StorageError> {
        Inbox::Executor
            .purge(&self.pool.get().await?, DAYS)
            .await
            .map(drop)
    }
}
