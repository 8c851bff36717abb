//! What would stay where it is for ever: outcomes that the decider never heard are told again, as new messages, and
//! intents whose deposit nobody makes any more are ended once their payment window is over.

use std::time::Duration;

use domain::ids::IntentId;
use messaging::wire::Outcome;
use runtime::Stop;
use storage::executor::legs::LegRow;
use storage::executor::redrive;

use crate::context::{Context, WorkError};
use crate::undo::{self, Wanted};
use crate::{observe, outcome};

const BATCH: u32 = 200;

pub async fn run(ctx: Context, stop: Stop) {
    let quiet = Duration::from_secs(ctx.policy.windows.redrive_seconds);
    let every = (quiet / 4).clamp(Duration::from_millis(500), Duration::from_secs(30));
    while stop.sleep(every).await {
        for (what, done) in [
            ("redrive", round(&ctx, quiet).await),
            ("end", end_stranded(&ctx).await),
        ] {
            if let Err(error) = done {
                observe::round_failed(what, &error);
            }
        }
    }
}

/// One pass over what has been quiet for so long.
pub async fn round(ctx: &Context, quiet: Duration) -> Result<(), WorkError> {
    if ctx.following_now().is_none() {
        return Ok(());
    }
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
    let ids: Vec<IntentId> = told.iter().map(|(leg, _)| leg.intent_id).collect();
    redrive::told(&tx, &ids).await?;
    tx.commit().await?;
    ctx.relay.now();
    observe::redriven(told.len());
    Ok(())
}

/// A deposit that was parked and discarded, say: no command is left that would move its intent, and after the payment
/// window none may deposit. If storage on chain knows nothing of it, it ends as dropped or rejected, and whoever paid
/// is owed.
pub async fn end_stranded(ctx: &Context) -> Result<(), WorkError> {
    let Some(lease) = ctx.keys.iter().find_map(|key| key.lease_now()) else {
        return Ok(());
    };
    let window = Duration::from_secs(ctx.policy.windows.payment_seconds);
    let client = ctx.pool.get().await?;
    let stranded = redrive::stranded(&client, window, BATCH).await?;
    drop(client);
    if stranded.is_empty() {
        return Ok(());
    }
    let wanted: Vec<Wanted> = stranded.into_iter().map(|id| (None, id)).collect();
    undo::run(ctx, &lease, &wanted).await
}
