//! Publishes the sealed bytes of parked items to the dead-letter queue of their command, for a person to act.

use std::sync::Arc;

use domain::clock::Clock;
use messaging::dead_letters::FailureReport;
use messaging::{Outgoing, Publisher, Service};
use runtime::Periodic;
use storage::executor::items;
use storage::{Pool, StorageError};

use crate::rules::queue::queue_of;
use crate::state::ChainView;

const BATCH: u32 = 100;

pub struct DeadLetterPublisher {
    pub pool: Pool,
    pub view: ChainView,
    pub publisher: Publisher,
    pub clock: Arc<dyn Clock>,
}

impl Periodic for DeadLetterPublisher {
    type Error = StorageError;

    /// Publishes dead letters, if this process follows the chain; a crash between the confirm and the update publishes one
    /// twice, which a replay tolerates.
    async fn run(&mut self) -> Result<(), StorageError> {
        if self.view.follower_lease().is_none() {
            return Ok(());
        }
        let client = self.pool.get().await?;
        let waiting = items::pending_dead_letters(&client, BATCH).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        drop(client);
        let letters = waiting
            .iter()
            .map(|unsent| {
                let report = FailureReport {
                    class: &unsent.error_class,
                    text: &unsent.reason,
                    attempts: unsent.attempts,
                    last_tx_hash: unsent.last_tx,
                    failed_at: self.clock.now(),
                    service: Service::MintExecutor.name(),
                    version: env!("CARGO_PKG_VERSION"),
                };
                let queue = queue_of(unsent.item.command);
                Outgoing::parked(queue, &unsent.item.envelope, &report)
            })
            .collect();
        let results = self.publisher.publish_many(letters).await;
        let sent: Vec<_> = waiting
            .iter()
            .zip(results)
            .filter(|(_, result)| result.is_ok())
            .map(|(w, _)| w.item.message_id)
            .collect();
        items::mark_dead_letters_sent(&self.pool.get().await?, &sent).await
    }
}
