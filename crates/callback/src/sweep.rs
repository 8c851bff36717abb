//! Sweeps: what no message will bring about. Candidates are found without a lock and judged again under it; no sweep
//! can cause a mint by itself, since every execute is decided from the stored report.

use std::sync::Arc;
use std::time::Duration;

use domain::ids::MessageId;
use domain::intent::PaymentLeg;
use domain::tx_ref::TxRef;
use runtime::Stop;
use storage::Inbox;
use storage::callback::exceptions::{self, ExceptionKind};
use storage::callback::{reports, sweeps};

use crate::case::{Because, Case};
use crate::desk::{Desk, DeskError};
use crate::observe;

const SLOWEST: Duration = Duration::from_secs(5);
const FASTEST: Duration = Duration::from_millis(250);
/// A message can come again as long as it lies on a queue or a dead queue.
const INBOX_DAYS: u32 = 30;

/// Sweeps until the stop.
pub async fn run(desk: Arc<Desk>, stop: Stop) {
    let pause = (redrive_after(&desk) / 4).clamp(FASTEST, SLOWEST);
    let mut round = 0_u32;
    while stop.sleep(pause).await {
        once(&desk).await;
        round = round.wrapping_add(1);
        if round.is_multiple_of(1000) {
            report("inbox", purge(&desk).await);
        }
    }
}

/// Every sweep once.
pub async fn once(desk: &Desk) {
    report("expire", expire(desk).await);
    report("undecided", undecided(desk).await);
    report("redrive", redrive(desk).await);
    report("orphans", orphans(desk).await);
    report("parked", parked(desk).await);
    report("gauges", gauges(desk).await);
}

fn report<T>(sweep: &'static str, result: Result<T, DeskError>) {
    if let Err(error) = result {
        observe::sweep_failed(sweep, &error);
    }
}

fn redrive_after(desk: &Desk) -> Duration {
    Duration::from_secs(desk.windows.redrive_seconds)
}

/// No report at all within the payment window: given up. Under the lock, and only if none is stored.
pub async fn expire(desk: &Desk) -> Result<usize, DeskError> {
    let window = Duration::from_secs(desk.windows.payment_seconds);
    let horizon = window + Duration::from_secs(desk.windows.deposit_expiry_seconds);
    let found = sweeps::to_expire(&desk.pool.get().await?, window, horizon).await?;
    for tx_ref in &found {
        under_lock(desk, tx_ref, "expiry", async |case, tx| {
            if case.decision.payment_leg == PaymentLeg::Awaiting && !reports::has_any(tx, tx_ref).await? {
                case.set_payment(PaymentLeg::Expired);
                case.settle().await?;
            }
            Ok(())
        })
        .await?;
    }
    Ok(found.len())
}

/// A step that was due and not taken: a key was missing, a person ended a hold.
pub async fn undecided(desk: &Desk) -> Result<usize, DeskError> {
    let after = redrive_after(desk).min(SLOWEST);
    let found = sweeps::undecided(&desk.pool.get().await?, after).await?;
    for tx_ref in &found {
        under_lock(desk, tx_ref, "undecided", async |case, _| {
            case.match_first().await?;
            case.settle().await
        })
        .await?;
    }
    Ok(found.len())
}

/// A live command that nothing explains any more is decided and sent again.
pub async fn redrive(desk: &Desk) -> Result<usize, DeskError> {
    let found: Vec<(TxRef, MessageId)> =
        sweeps::to_redrive(&desk.pool.get().await?, redrive_after(desk)).await?;
    for (tx_ref, live) in &found {
        under_lock(desk, tx_ref, "redrive", async |case, _| case.redrive(*live).await).await?;
    }
    Ok(found.len())
}

/// A payment that waited for its intent too long becomes a person's business.
pub async fn orphans(desk: &Desk) -> Result<usize, DeskError> {
    let limit = Duration::from_secs(desk.windows.orphan_match_seconds);
    let found = sweeps::old_orphans(&desk.pool.get().await?, limit).await?;
    for tx_ref in &found {
        under_lock(desk, tx_ref, "orphan", async |case, _| {
            if case.decision.intent_id.is_none() {
                case.orphaned().await?;
            }
            Ok(())
        })
        .await?;
    }
    Ok(found.len())
}

/// Work the executor gave up on: nothing more is commanded until a person has looked.
pub async fn parked(desk: &Desk) -> Result<usize, DeskError> {
    let again = redrive_after(desk) * 10;
    let found = sweeps::parked(&desk.pool.get().await?, again, None).await?;
    for parked in &found {
        under_lock(desk, &parked.tx_ref, "parked", async |case, tx| {
            for still in sweeps::parked(tx, again, Some(&parked.tx_ref)).await? {
                let detail = format!("{} is a dead letter: {}", still.command, still.reason);
                case.except(ExceptionKind::CommandParked, None, None, detail)
                    .await?;
            }
            Ok(())
        })
        .await?;
    }
    Ok(found.len())
}

async fn gauges(desk: &Desk) -> Result<(), DeskError> {
    let client = desk.pool.get().await?;
    observe::open_exceptions(&exceptions::count_open(&client).await?);
    let (count, oldest) = sweeps::orphans(&client).await?;
    observe::orphans(count, oldest);
    Ok(())
}

async fn purge(desk: &Desk) -> Result<(), DeskError> {
    Inbox::Callback.purge(&desk.pool.get().await?, INBOX_DAYS).await?;
    Ok(())
}

/// One txRef in its own transaction. Its failure is its own, unless the database is away.
async fn under_lock(
    desk: &Desk,
    tx_ref: &TxRef,
    cause: &'static str,
    work: impl AsyncFnOnce(&mut Case<'_>, &storage::DbTransaction<'_>) -> Result<(), DeskError>,
) -> Result<(), DeskError> {
    match in_transaction(desk, tx_ref, cause, work).await {
        Err(error) if !error.is_outage() => {
            tracing::warn!(%tx_ref, "left to the next sweep");
            observe::sweep_failed(cause, &error);
            Ok(())
        }
        result => result,
    }
}

async fn in_transaction(
    desk: &Desk,
    tx_ref: &TxRef,
    cause: &'static str,
    work: impl AsyncFnOnce(&mut Case<'_>, &storage::DbTransaction<'_>) -> Result<(), DeskError>,
) -> Result<(), DeskError> {
    let mut client = desk.pool.get().await?;
    let tx = client.begin().await?;
    let because = Because {
        cause,
        message_id: None,
    };
    let mut case = Case::open(desk, &tx, tx_ref, because).await?;
    work(&mut case, &tx).await?;
    let closed = case.close().await?;
    tx.commit().await?;
    closed.announce(desk);
    Ok(())
}
