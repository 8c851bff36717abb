//! Publishes the sealed bytes of parked items to the dead-letter queue of their command, for a person to act.

use std::time::Duration;

use messaging::dead_letters::FailureReport;
use messaging::{Outgoing, Service};
use runtime::Stop;
use storage::StorageError;
use storage::executor::items;

use crate::context::Context;
use crate::verify::queue_of;

const EVERY: Duration = Duration::from_secs(1);
const BATCH: u32 = 100;

pub async fn run(ctx: Context, stop: Stop) {
    while stop.sleep(EVERY).await {
        if ctx.current_follower_lease().is_none() {
            continue;
        }
        if let Err(error) = publish_dead_letters(&ctx).await {
            tracing::warn!(error = %domain::error_chain(&error), "dead letters wait in their rows");
        }
    }
}

/// Publishes dead letters; a crash between the confirm and the update publishes one twice, which a replay tolerates.
async fn publish_dead_letters(ctx: &Context) -> Result<(), StorageError> {
    let client = ctx.pool.get().await?;
    let waiting = items::pending_dead_letters(&client, BATCH).await?;
    if waiting.is_empty() {
        return Ok(());
    }
    drop(client);
    let letters = waiting
        .iter()
        .map(|unsent| {
            let story = FailureReport {
                class: &unsent.error_class,
                text: &unsent.reason,
                attempts: unsent.attempts,
                last_tx_hash: unsent.last_tx,
                failed_at: ctx.clock.now(),
                service: Service::MintExecutor.name(),
                version: env!("CARGO_PKG_VERSION"),
            };
            let queue = queue_of(unsent.item.command);
            Outgoing::parked(queue, &unsent.item.envelope, &story)
        })
        .collect();
    let results = ctx.publisher.publish_many(letters).await;
    let sent: Vec<_> = waiting
        .iter()
        .zip(results)
        .filter(|(_, result)| result.is_ok())
        .map(|(w, _)| w.item.message_id)
        .collect();
    items::mark_dead_letters_sent(&ctx.pool.get().await?, &sent).await
}
