//! Dead queues: look without losing, discard, replay, re-seal.
//!
//! All of these are one sweep ([`Sweep`]): entries are handed out page by page, each page is settled as decided, and
//! what is to stay goes back at the end. Memory holds one page, however many entries there are. While a sweep runs
//! another one does not see the entries it holds.

pub(crate) mod entry;
mod sweep;

use std::sync::Arc;

use domain::clock::Clock;
use domain::ids::MessageId;
use domain::signature::{KeyId, sha256};

pub use entry::{DeadLetter, Story};
pub use sweep::{Act, Held, PAGE, Settled, Sweep};

use crate::connection::{Broker, BrokerError};
use crate::publish::{PublishError, Publisher};
use crate::seal::{OpenError, Opener, SealError, Sealer};
use crate::topology::{RETRY_STEPS, WorkQueue, delay_queue};

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

/// The operator's hand on the dead queues.
#[derive(Clone)]
pub struct DeadLetters {
    pub broker: Broker,
    pub publisher: Publisher,
    pub opener: Opener,
    pub sealer: Sealer,
    pub clock: Arc<dyn Clock>,
}

impl DeadLetters {
    /// Begins to go through one dead queue, oldest entries first as far as the broker keeps order. Entries added
    /// meanwhile are left alone.
    pub async fn sweep(&self, queue: WorkQueue) -> Result<Sweep<'_>, DeadLetterError> {
        Sweep::begin(self, queue, queue.dead_name()).await
    }

    /// Messages of a work queue under one key that are parked or wait for their next attempt, by the broker's queue.
    /// Only what verifies counts: anybody can write a key's name on a message.
    pub async fn sealed_under(
        &self,
        queue: WorkQueue,
        kid: &KeyId,
    ) -> Result<Vec<(String, u64)>, DeadLetterError> {
        let delays = (1..=RETRY_STEPS).map(delay_queue);
        let mut found = Vec::new();
        for name in std::iter::once(queue.dead_name().to_owned()).chain(delays) {
            let mut sweep = Sweep::begin(self, queue, &name).await?;
            let mut count = 0;
            loop {
                let page = sweep.page(PAGE).await?;
                if page.is_empty() {
                    break;
                }
                for held in page {
                    let opened = self.opener.open(queue, &held.entry.payload);
                    count += u64::from(opened.is_ok_and(|opened| opened.kid() == kid));
                }
            }
            sweep.finish().await?;
            found.push((name, count));
        }
        Ok(found)
    }

    /// At most `limit` entries, none removed.
    pub async fn browse(&self, queue: WorkQueue, limit: usize) -> Result<Vec<DeadLetter>, DeadLetterError> {
        let mut sweep = self.sweep(queue).await?;
        let mut found = Vec::new();
        while found.len() < limit {
            let most = limit - found.len();
            let page = sweep.page(u16::try_from(most).unwrap_or(PAGE)).await?;
            if page.is_empty() {
                break;
            }
            found.extend(page.into_iter().map(|held| held.entry));
        }
        sweep.finish().await?;
        Ok(found)
    }

    /// One entry by its id, not removed.
    pub async fn find(&self, queue: WorkQueue, id: &str) -> Result<Option<DeadLetter>, DeadLetterError> {
        let mut sweep = self.sweep(queue).await?;
        let mut found = None;
        while found.is_none() {
            let page = sweep.page(PAGE).await?;
            if page.is_empty() {
                break;
            }
            found = page
                .into_iter()
                .map(|held| held.entry)
                .find(|entry| entry.id == id);
        }
        sweep.finish().await?;
        Ok(found)
    }
}

/// The id of a message's replay: it follows from the message alone. Whoever dies between publishing a replay and
/// taking its entry away sends the very same id again, and the reader's inbox makes the second one a no-op.
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
        // Known answer: another rule would let a crash of an older version double what this one replays.
        assert_eq!(id.to_string(), "d026233e-dce2-8f17-b2fe-b3ebbff7ed62");
        assert_eq!(replay_id(WorkQueue::MintSubmit, cause), id);
        assert_ne!(replay_id(WorkQueue::MintRefund, cause), id);
        assert_ne!(replay_id(WorkQueue::MintSubmit, id), id);
    }
}
