//! What the chain would refuse goes the way it would go had it been refused there, without the gas.

use std::time::Duration;

use chain::watch::Header;
use domain::ids::IntentId;
use messaging::wire::Outcome;
use storage::Transaction;
use storage::executor::items::{ItemChange, ItemRow, ItemState};
use storage::executor::legs::LegRow;
use storage::executor::signers::Lease;
use storage::executor::{attempts, items};

use super::rehearsal::Advice;
use crate::confirm::effects::{Effects, NEEDS_A_PERSON, Trip};
use crate::context::{Context, WorkError};
use crate::decide::Step;
use crate::{observe, outcome};

/// How long an item rests that the head would refuse for good, and a final block not yet.
const REFUSED_WAIT: Duration = Duration::from_secs(2);

/// In the transaction that locked the items and their legs.
pub async fn refuse(
    ctx: &Context,
    tx: &Transaction<'_>,
    (lease, head): (&Lease, &Header),
    legs: Vec<LegRow>,
    refused: &[(ItemRow, Advice)],
) -> Result<(Vec<LegRow>, Vec<Trip>), WorkError> {
    if refused.is_empty() {
        return Ok((legs, Vec::new()));
    }
    let ids: Vec<IntentId> = refused.iter().map(|(item, _)| item.intent_id).collect();
    let in_race = attempts::in_race(tx, &ids).await?;
    let mut effects = Effects::new(head.number, legs);
    for (item, advice) in refused {
        match *advice {
            Advice::Send => {}
            Advice::Wait(ending) => effects.items.push(rest(item, ending.name())),
            Advice::Settle { ending, record, step } => match step {
                Step::Again(_) | Step::Smaller(_) => effects.step((item, &lease.signer), (step, record))?,
                // What may still be mined, or mined again after a fork, decides first.
                _ if in_race.contains(&item.intent_id) => effects.items.push(rest(item, ending.name())),
                Step::Reject => {
                    effects.reject(item.message_id, &item.intent_id, (ending.name(), record))?;
                }
                step => {
                    match step {
                        Step::Park(class) => observe::parked(item, class, NEEDS_A_PERSON),
                        Step::Refused => observe::compliance(ending),
                        _ => {}
                    }
                    effects.step((item, &lease.signer), (step, record))?;
                }
            },
        }
    }
    items::update(tx, &effects.items).await?;
    let told: Vec<(&LegRow, Outcome)> = effects
        .told
        .iter()
        .filter_map(|(id, outcome)| Some((effects.leg(id)?, *outcome)))
        .collect();
    outcome::push(ctx, tx, &told).await?;
    let trips = effects.trips.clone();
    Ok((effects.into_legs(), trips))
}

fn rest(item: &ItemRow, why: &str) -> ItemChange {
    let mut change = ItemChange::to(item.message_id, ItemState::Ready)
        .because(why)
        .after(REFUSED_WAIT);
    change.batch_limit = item.batch_limit;
    change
}
