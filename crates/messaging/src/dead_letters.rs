//! Dead-letter queues: browse without removing, discard, replay, reseal.
//!
//! All of these use a cursor ([`DeadLetterCursor`]): it reads entries page by page, the caller decides each page, and at
//! the end the cursor returns the entries that stay. Memory holds one page, however many entries there are. While one
//! cursor is open, another one does not see the entries that it holds.

mod cursor;
mod entry;

use std::sync::Arc;

use domain::clock::Clock;
use domain::ids::MessageId;
use domain::signature::{KeyId, sha256};

pub use cursor::{DeadLetterAction, DeadLetterCursor, HeldDeadLetter, MAX_PAGE, SettledDeadLetter};
pub use entry::DeadLetter;

pub use crate::failure_report::FailureReport;

use crate::connection::{Broker, BrokerError};
use crate::names::{RETRY_STEPS, WorkQueue, delay_queue};
use crate::publish::{PublishError, Publisher};
use crate::seal::{OpenError, OpenedMessage, Opener, SealError, Sealer};

#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("cannot be opened: {0}")]
    Open(#[from] OpenError),
    #[error("cannot be sealed: {0}")]
    Seal(#[from] SealError),
    #[error("cannot be published: {0}")]
    Publish(#[from] PublishError),
}

/// The operator's access to the dead-letter queues.
#[derive(Clone)]
pub struct DeadLetters {
    pub broker: Broker,
    pub publisher: Publisher,
    pub opener: Opener,
    pub sealer: Sealer,
    pub clock: Arc<dyn Clock>,
}

impl DeadLetters {
    /// Opens a cursor over one dead-letter queue, oldest entries first as far as the broker keeps the order. The cursor
    /// does not read entries that are added later.
    pub async fn cursor(&self, queue: WorkQueue) -> Result<DeadLetterCursor<'_>, DeadLetterError> {
        DeadLetterCursor::open(self, queue, queue.dead_letter_name()).await
    }

    /// Counts the messages of a work queue that are sealed under one key and are parked or wait for their next attempt,
    /// by broker queue. Only messages whose seal verifies count, because anybody can write a key id into a message.
    pub async fn sealed_under(
        &self,
        queue: WorkQueue,
        kid: &KeyId,
    ) -> Result<Vec<(String, u64)>, DeadLetterError> {
        let delays = (1..=RETRY_STEPS).map(delay_queue);
        let mut found = Vec::new();
        for name in std::iter::once(queue.dead_letter_name().to_owned()).chain(delays) {
            let mut cursor = DeadLetterCursor::open(self, queue, &name).await?;
            let mut count = 0;
            loop {
                let page = cursor.next_page(MAX_PAGE).await?;
                if page.is_empty() {
                    break;
                }
                for held in page {
                    let opened = self.opener.open(queue, &held.entry.payload);
                    count += u64::from(opened.is_ok_and(|opened| is_sealed_under(&opened, kid)));
                }
            }
            cursor.finish().await?;
            found.push((name, count));
        }
        Ok(found)
    }

    /// Returns at most `limit` entries and removes none.
    pub async fn browse(&self, queue: WorkQueue, limit: usize) -> Result<Vec<DeadLetter>, DeadLetterError> {
        let mut cursor = self.cursor(queue).await?;
        let mut found = Vec::new();
        while found.len() < limit {
            let most = limit - found.len();
            let page = cursor.next_page(u16::try_from(most).unwrap_or(MAX_PAGE)).await?;
            if page.is_empty() {
                break;
            }
            found.extend(page.into_iter().map(|held| held.entry));
        }
        cursor.finish().await?;
        Ok(found)
    }

    /// Finds one entry by its id and does not remove it.
    pub async fn find(&self, queue: WorkQueue, id: &str) -> Result<Option<DeadLetter>, DeadLetterError> {
        let mut cursor = self.cursor(queue).await?;
        let mut found = None;
        while found.is_none() {
            let page = cursor.next_page(MAX_PAGE).await?;
            if page.is_empty() {
                break;
            }
            found = page
                .into_iter()
                .map(|held| held.entry)
                .find(|entry| entry.id == id);
        }
        cursor.finish().await?;
        Ok(found)
    }
}

fn is_sealed_under(opened: &OpenedMessage, kid: &KeyId) -> bool {
    opened.kid() == kid
}

/// The message id of a replay, derived from the original message alone. If a process dies between publishing a replay
/// and removing the entry, the next replay has the same id, and the consumer's inbox ignores the duplicate.
pub fn replay_id(queue: WorkQueue, cause: MessageId) -> MessageId {
    let text = format!("FR1-REPLAY\n{queue}\n{cause}");
    let hash = sha256(text.as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&hash[..16]);
    MessageId(uuid::Builder::from_custom_bytes(bytes).into_uuid())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replays_id_follows_from_its_cause_and_differs_from_it() {
        let cause: MessageId = "018f0000-0000-7000-8000-000000000001".parse().unwrap();
        let id = replay_id(WorkQueue::MintSubmit, cause);
        // A fixed value: if the derivation changed, a replay interrupted under an older version would be sent twice.
        assert_eq!(id.to_string(), "d026233e-dce2-8f17-b2fe-b3ebbff7ed62");
        assert_eq!(replay_id(WorkQueue::MintSubmit, cause), id);
        assert_ne!(replay_id(WorkQueue::MintRefund, cause), id);
        assert_ne!(replay_id(WorkQueue::MintSubmit, id), id);
    }
}
