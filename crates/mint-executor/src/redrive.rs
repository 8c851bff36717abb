//! Moves what would stay for ever: publishes outcomes again that callback never received, as new messages, and ends
//! intents whose deposit no command makes any more once their payment window is over.

use std::time::Duration;

use domain::ids::IntentId;
use messaging::wire::Outcome;
use runtime::Stop;
use storage::executor::legs::ChainLegRow;
use storage::executor::redrive;

use crate::cancel::{self, CancelRequest};
use crate::context::{Context, WorkError};
use crate::{observe, outcome};

const BATCH: u32 = 200;

pub async fn run(ctx: Context, stop: Stop) {
    let unacknowledged_for = Duration::from_secs(ctx.policy.windows.redrive_seconds);
    let every = (unacknowledged_for / 4).clamp(Duration::from_millis(500), Duration::from_secs(30));
    while stop.sleep(every).await {
        for (what, done) in [
            ("redrive", redrive_outcomes(&ctx, unacknowledged_for).await),
            ("end", end_stranded(&ctx).await),
        ] {
            if let Err(error) = done {
                observe::round_failed(what, &error);
            }
        }
    }
}

/// Publishes once more the outcomes of legs that have not changed for `quiet` and that callback does not know.
pub async fn redrive_outcomes(ctx: &Context, unacknowledged_for: Duration) -> Result<(), WorkError> {
    if ctx.current_follower_lease().is_none() {
        return Ok(());
    }
    let mut client = ctx.pool.get().await?;
    let unheard = redrive::unacknowledged(&client, unacknowledged_for, BATCH).await?;
    if unheard.is_empty() {
        return Ok(());
    }
    let tx = client.begin().await?;
    let outcomes: Vec<(&ChainLegRow, Outcome)> = unheard
        .iter()
        .filter_map(|leg| Some((leg, outcome::outcome_for_leg(leg)?)))
        .collect();
    outcome::push_outcomes(ctx, &tx, &outcomes).await?;
    let ids: Vec<IntentId> = outcomes.iter().map(|(leg, _)| leg.intent_id).collect();
    redrive::record_redrive(&tx, &ids).await?;
    tx.commit().await?;
    ctx.relay.notify();
    observe::outcomes_redriven(outcomes.len());
    Ok(())
}

/// Ends intents that no command would move, for example after an operator discarded a parked deposit: after the payment
/// window nothing may be deposited. Without a record on chain they become dropped or rejected, and a payer is owed the
/// money.
pub async fn end_stranded(ctx: &Context) -> Result<(), WorkError> {
    let Some(lease) = ctx.signers.iter().find_map(|signer| signer.current_lease()) else {
        return Ok(());
    };
    let window = Duration::from_secs(ctx.policy.windows.payment_seconds);
    let client = ctx.pool.get().await?;
    let stranded = redrive::stranded(&client, window, BATCH).await?;
    drop(client);
    if stranded.is_empty() {
        return Ok(());
    }
    let wanted: Vec<CancelRequest> = stranded.into_iter().map(|id| (None, id)).collect();
    cancel::cancel_intents(ctx, &lease, &wanted).await
}
