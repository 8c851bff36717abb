//! Sweeps do what no message triggers. They find candidates without a lock and check each again under the lock. No sweep
//! can cause a mint by itself, because every execute is decided from the stored report.

use std::time::Duration;

use domain::exception::ExceptionKind;
use domain::ids::MessageId;
use domain::intent::PaymentLeg;
use domain::tx_ref::TxRef;
use storage::callback::exceptions;
use storage::callback::{reports, sweeps};

use crate::locked_decision::{LockedDecision, Trigger};
use crate::observe;
use crate::state::{AppState, HandlerError};

const SLOWEST: Duration = Duration::from_secs(5);
const FASTEST: Duration = Duration::from_millis(250);

/// Time between two runs of all sweeps.
pub fn period(state: &AppState) -> Duration {
    (redrive_after(state) / 4).clamp(FASTEST, SLOWEST)
}

/// Runs every sweep once, whether or not another fails; returns the last failure.
pub async fn run_all(state: &AppState) -> Result<(), HandlerError> {
    let results = [
        counted("expire", expire(state).await.map(drop)),
        counted("undecided", undecided(state).await.map(drop)),
        counted("redrive", redrive(state).await.map(drop)),
        counted("orphans", orphans(state).await.map(drop)),
        counted("parked", parked(state).await.map(drop)),
        counted("gauges", gauges(state).await),
    ];
    results.into_iter().rfind(Result::is_err).unwrap_or(Ok(()))
}

fn counted(sweep: &'static str, result: Result<(), HandlerError>) -> Result<(), HandlerError> {
    result.inspect_err(|error| observe::sweep_failed(sweep, error))
}

fn redrive_after(state: &AppState) -> Duration {
    Duration::from_secs(state.windows.redrive_seconds)
}

/// Expires intents without any report within the payment window. Checks under the lock that no report is stored.
pub async fn expire(state: &AppState) -> Result<usize, HandlerError> {
    let window = Duration::from_secs(state.windows.payment_seconds);
    let horizon = window + Duration::from_secs(state.windows.deposit_expiry_seconds);
    let found = sweeps::to_expire(&state.pool.get().await?, window, horizon).await?;
    for tx_ref in &found {
        with_locked_decision(state, tx_ref, "expiry", async |locked, tx| {
            if locked.decision.payment_leg == PaymentLeg::Awaiting && !reports::has_any(tx, tx_ref).await? {
                locked.set_payment(PaymentLeg::Expired);
                locked.decide().await?;
            }
            Ok(())
        })
        .await?;
    }
    Ok(found.len())
}

/// Takes steps that are due but were not taken, for example because a key was missing or a hold has ended.
pub async fn undecided(state: &AppState) -> Result<usize, HandlerError> {
    let after = redrive_after(state).min(SLOWEST);
    let found = sweeps::undecided(&state.pool.get().await?, after).await?;
    for tx_ref in &found {
        with_locked_decision(state, tx_ref, "undecided", async |locked, _| {
            locked.match_waiting_payment().await?;
            locked.decide().await
        })
        .await?;
    }
    Ok(found.len())
}

/// Decides and sends a live command again if no outbox row or work item accounts for it.
pub async fn redrive(state: &AppState) -> Result<usize, HandlerError> {
    let found: Vec<(TxRef, MessageId)> =
        sweeps::to_redrive(&state.pool.get().await?, redrive_after(state)).await?;
    for (tx_ref, live) in &found {
        with_locked_decision(state, tx_ref, "redrive", async |locked, _| {
            locked.redrive(*live).await
        })
        .await?;
    }
    Ok(found.len())
}

/// Opens an exception for a payment that waited too long for its intent.
pub async fn orphans(state: &AppState) -> Result<usize, HandlerError> {
    let limit = Duration::from_secs(state.windows.orphan_match_seconds);
    let found = sweeps::old_orphans(&state.pool.get().await?, limit).await?;
    for tx_ref in &found {
        with_locked_decision(state, tx_ref, "orphan", async |locked, _| {
            if locked.decision.intent_id.is_none() {
                locked.open_orphan_exception().await?;
            }
            Ok(())
        })
        .await?;
    }
    Ok(found.len())
}

/// Opens an exception for each command that the executor parked: nothing more is commanded until a person has acted.
pub async fn parked(state: &AppState) -> Result<usize, HandlerError> {
    let again = redrive_after(state) * 10;
    let found = sweeps::parked(&state.pool.get().await?, again, None).await?;
    for parked in &found {
        with_locked_decision(state, &parked.tx_ref, "parked", async |locked, tx| {
            for still in sweeps::parked(tx, again, Some(&parked.tx_ref)).await? {
                let detail = format!("{} is a dead letter: {}", still.command, still.reason);
                locked
                    .open_exception(ExceptionKind::CommandParked, None, None, detail)
                    .await?;
            }
            Ok(())
        })
        .await?;
    }
    Ok(found.len())
}

async fn gauges(state: &AppState) -> Result<(), HandlerError> {
    let client = state.pool.get().await?;
    observe::open_exceptions(&exceptions::count_open(&client).await?);
    let (count, oldest) = sweeps::orphans(&client).await?;
    observe::orphans(count, oldest);
    Ok(())
}

/// Works on one txRef in its own transaction. A failure affects no other txRef, unless the database is unavailable.
async fn with_locked_decision(
    state: &AppState,
    tx_ref: &TxRef,
    cause: &'static str,
    work: impl AsyncFnOnce(&mut LockedDecision<'_>, &storage::DbTransaction<'_>) -> Result<(), HandlerError>,
) -> Result<(), HandlerError> {
    match in_transaction(state, tx_ref, cause, work).await {
        Err(error) if !error.is_outage() => {
            tracing::warn!(%tx_ref, "skipped until the next sweep");
            observe::sweep_failed(cause, &error);
            Ok(())
        }
        result => result,
    }
}

async fn in_transaction(
    state: &AppState,
    tx_ref: &TxRef,
    cause: &'static str,
    work: impl AsyncFnOnce(&mut LockedDecision<'_>, &storage::DbTransaction<'_>) -> Result<(), HandlerError>,
) -> Result<(), HandlerError> {
    let mut client = state.pool.get().await?;
    let tx = client.begin().await?;
    let trigger = Trigger {
        cause,
        message_id: None,
    };
    let mut locked = LockedDecision::open(state, &tx, tx_ref, trigger).await?;
    work(&mut locked, &tx).await?;
    let after_commit = locked.save().await?;
    tx.commit().await?;
    after_commit.run(state);
    Ok(())
}
