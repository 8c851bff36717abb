//! Outcomes that the decider never heard: told again, as new messages.

use std::time::Duration;

use messaging::wire::Outcome;
use runtime::Stop;
use storage::executor::legs::LegRow;
use storage::executor::redrive;

use crate::context::{Context, WorkError};
use crate::{observe, outcome};

const BATCH: u32 = 200;

pub async fn run(ctx: Context, stop: Stop) {
    let quiet = Duration::from_secs(ctx.policy.windows.redrive_seconds);
    let every = (quiet / 4).clamp(Duration::from_millis(500), Duration::from_secs(30));
    while stop.sleep(every).await {
        if ctx.lease_now().is_none() {
            continue;
        }
        if let Err(error) = round(&ctx, quiet).await {
            observe::round_failed("redrive", &error);
        }
    }
}

/// One pass over what has been quiet for so long.
pub async fn round(ctx: &Context, quiet: Duration) -> Result<(), WorkError> {
    let mut client = ctx.pool.get().await?;
    let unheard = redrive::unheard(&client, quiet, BATCH).await?;
    if unheard.is_empty() {
        return Ok(());
    }
    let tx = client.begin().await?;
    let told: Vec<(&LegRow, Outcome)> = unheard
        .iter()
        .filter_map(|leg| Some((leg, outcome::of_leg(leg)?)))
        .collect();
    outcome::push(ctx, &tx, &told).await?;
    tx.commit().await?;
    ctx.relay.now();
    observe::redriven(told.len());
    Ok(())
}
