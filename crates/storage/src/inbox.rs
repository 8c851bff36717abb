//! The ids of the messages that a service has handled, so that a redelivery changes nothing. One table per consuming
//! service.

use std::collections::HashSet;

use domain::ids::MessageId;
use uuid::Uuid;

use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::session::{DbSession, execute, query};

/// The service whose inbox it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inbox {
    Callback,
    Executor,
}

statements! {
    CALLBACK_INSERT =
        "insert into callback_inbox (queue, message_id) select $1, unnest($2::uuid[]) \
         on conflict do nothing returning message_id";
    EXECUTOR_INSERT =
        "insert into executor_inbox (queue, message_id) select $1, unnest($2::uuid[]) \
         on conflict do nothing returning message_id";
    CALLBACK_PURGE =
        "delete from callback_inbox where received_at < clock_timestamp() - $1::bigint * interval '1 day'";
    EXECUTOR_PURGE =
        "delete from executor_inbox where received_at < clock_timestamp() - $1::bigint * interval '1 day'";
}

impl Inbox {
    /// Marks messages of one queue as handled and returns those that were not before. Call it in the transaction
    /// of their effects: if that rolls back, they count as unhandled.
    pub async fn insert_new(
        self,
        tx: &DbTransaction<'_>,
        queue: &str,
        ids: &[MessageId],
    ) -> Result<HashSet<MessageId>, StorageError> {
        let sql = match self {
            Self::Callback => CALLBACK_INSERT,
            Self::Executor => EXECUTOR_INSERT,
        };
        let mut ids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        // All callers use the same order, so two batches with common members cannot deadlock.
        ids.sort_unstable();
        ids.dedup();
        let rows = query(tx, sql, &[&queue, &ids]).await?;
        rows.iter()
            .map(|row| Ok(MessageId(row.try_get("message_id")?)))
            .collect()
    }

    /// Deletes messages that are too old to be delivered again.
    pub async fn purge(self, session: &impl DbSession, older_than_days: u32) -> Result<u64, StorageError> {
        let sql = match self {
            Self::Callback => CALLBACK_PURGE,
            Self::Executor => EXECUTOR_PURGE,
        };
        execute(session, sql, &[&i64::from(older_than_days)]).await
    }
}
