//! Handles `mpesa.result`: verifies the raw report again, classifies it, and decides the next step.

use std::sync::Arc;

use domain::evidence::{EvidenceError, SignedReport};
use domain::exception::ExceptionKind;
use domain::intent::PaymentLeg;
use domain::payment::PaymentReport;
use domain::report_outcome::ReportOutcome;
use messaging::wire::MpesaResult;
use messaging::{Delivery, Disposition, WorkQueue};
use storage::callback::exceptions::{self, NewException};
use storage::callback::payments::{self, NewPayment, PaymentRow};
use storage::callback::reports;
use storage::{DbTransaction, Inbox};
use time::OffsetDateTime;

use crate::batch::{Handled, is_redelivery};
use crate::classify::{PaymentMatch, RecordedReceipt, ReportClass, ReportFacts, classify_report};
use crate::locked_decision::{LockedDecision, Trigger, is_compromised};
use crate::observe::{self, HandledReport};
use crate::state::{AppState, HandlerError};

impl Handled for MpesaResult {
    fn tx_ref(delivery: &Delivery<Self>) -> String {
        PaymentReport::parse(&delivery.body.report.body).map_or_else(
            |_| delivery.message_id.to_string(),
            |report| report.tx_ref.to_string(),
        )
    }

    async fn handle(
        state: Arc<AppState>,
        delivery: Arc<Delivery<Self>>,
    ) -> Result<Disposition, HandlerError> {
        handle(state, delivery).await
    }
}

/// What becomes of a report whose key is not mounted here: it leaves the queue to those behind it, and comes again.
const UNTIL_KEY_IS_MOUNTED: Disposition = Disposition::Defer;

pub async fn handle(
    state: Arc<AppState>,
    delivery: Arc<Delivery<MpesaResult>>,
) -> Result<Disposition, HandlerError> {
    let body = &delivery.body;
    let source = if body.accepted_by.is_some() {
        "operator"
    } else {
        "mpesa"
    };
    let signed = &body.report;
    let report = match state.verify_report(signed) {
        Ok(report) => report,
        Err(EvidenceError::UnknownKey(_)) if waits_in_vain(&state, signed).await? => {
            let detail = format!("report {} is signed with a compromised key", signed.report_id);
            hold_unverifiable(&state, signed, Unverifiable::CompromisedKey, detail).await?;
            observe::report(source, ReportOutcome::CompromisedKey);
            return Ok(Disposition::Done);
        }
        Err(EvidenceError::UnknownKey(kid)) => {
            tracing::warn!(kid, "report signed with a key that is not mounted here");
            observe::report(source, HandledReport::WaitsForKey);
            return Ok(UNTIL_KEY_IS_MOUNTED);
        }
        Err(error) => {
            let detail = format!("report {}: {error}", signed.report_id);
            hold_unverifiable(&state, signed, Unverifiable::Tampered, detail).await?;
            observe::report(source, ReportOutcome::Tampered);
            return Ok(Disposition::park("report_tampered", error.to_string()));
        }
    };
    let mut client = state.pool.get().await?;
    let tx = client.begin().await?;
    let new = Inbox::Callback
        .insert_new(&tx, WorkQueue::MpesaResult.name(), &[delivery.message_id])
        .await?;
    if is_redelivery(&new) {
        return Ok(Disposition::Done);
    }
    let trigger = Trigger {
        cause: WorkQueue::MpesaResult.name(),
        message_id: Some(delivery.message_id),
    };
    let mut locked = LockedDecision::open(&state, &tx, &report.tx_ref, trigger).await?;
    let handled = ingest(&state, &tx, &mut locked, body, &report).await?;
    let after_commit = locked.save().await?;
    tx.commit().await?;
    after_commit.run(&state);
    observe::report(source, handled);
    Ok(Disposition::Done)
}

/// The secret of a compromised key does not come back, so a report under it does not wait for its key.
async fn waits_in_vain(state: &AppState, report: &SignedReport) -> Result<bool, HandlerError> {
    is_compromised(&state.pool.get().await?, report).await
}

async fn ingest(
    state: &AppState,
    tx: &DbTransaction<'_>,
    locked: &mut LockedDecision<'_>,
    body: &MpesaResult,
    report: &PaymentReport,
) -> Result<HandledReport, HandlerError> {
    let signed = &body.report;
    let known = reports::outcome(tx, signed.report_id).await?;
    if known.is_some_and(ReportOutcome::is_conclusive) {
        return Ok(HandledReport::Repeated);
    }
    let receipt = report.receipt().map(ToString::to_string);
    let outcome = if body.late && body.accepted_by.is_none() {
        let detail = format!("report {} came with a stale timestamp", signed.report_id);
        locked
            .open_exception(ExceptionKind::LateReport, receipt, Some(report.amount), detail)
            .await?;
        ReportOutcome::Late
    } else if is_compromised(tx, signed).await? {
        let detail = format!("report {} is signed with a compromised key", signed.report_id);
        locked
            .open_exception(ExceptionKind::CompromisedKey, receipt, None, detail)
            .await?;
        ReportOutcome::CompromisedKey
    } else {
        if let Some(by) = &body.accepted_by {
            exceptions::resolve_late_report(tx, report.tx_ref.as_str(), receipt.as_deref(), by).await?;
        }
        record_payment(state, tx, locked, signed, report).await?
    };
    reports::set_outcome(tx, signed.report_id, report.tx_ref.as_str(), outcome).await?;
    Ok(outcome.into())
}

async fn record_payment(
    state: &AppState,
    tx: &DbTransaction<'_>,
    locked: &mut LockedDecision<'_>,
    signed: &SignedReport,
    report: &PaymentReport,
) -> Result<ReportOutcome, HandlerError> {
    let received_at = received_at(state, signed);
    loop {
        let known = match report.receipt() {
            Some(receipt) => payments::by_receipt(tx, receipt).await?,
            None => None,
        };
        let verdict = classify_report(&ReportFacts {
            report,
            same_receipt: known.as_ref().map(|known| RecordedReceipt {
                tx_ref: &known.tx_ref,
                amount: known.amount,
            }),
            has_payment: locked.first_payment.is_some(),
            expected: locked.expected_amount(),
            payment: locked.decision.payment_leg,
            refund_commanded: locked.decision.refund_commanded,
        });
        let is_first = match verdict {
            ReportClass::FirstPayment { .. } => true,
            ReportClass::AnotherPayment => false,
            _ => return apply_without_payment(locked, verdict, report, known.as_ref()).await,
        };
        let Some(receipt) = report.receipt() else {
            return Ok(ReportOutcome::DeclinedTooLate);
        };
        let new = NewPayment {
            receipt,
            tx_ref: &report.tx_ref,
            report_id: signed.report_id,
            amount: report.amount,
            phone: report.phone.to_string(),
            is_first,
            received_at,
        };
        // Another transaction may have just recorded the same receipt under another txRef: classify again.
        if payments::insert(tx, &new).await? {
            return apply_payment(locked, verdict, tx, report).await;
        }
    }
}

async fn apply_without_payment(
    locked: &mut LockedDecision<'_>,
    verdict: ReportClass,
    report: &PaymentReport,
    known: Option<&PaymentRow>,
) -> Result<ReportOutcome, HandlerError> {
    let outcome = match verdict {
        ReportClass::Conflict => {
            let detail = known.map_or_else(String::new, |known| {
                let status = if report.is_paid() { "paid" } else { "declined" };
                format!(
                    "receipt {} is recorded for {} over {} KES; this report says {status} for {} over {} KES",
                    known.receipt, known.tx_ref, known.amount, report.tx_ref, report.amount
                )
            });
            let receipt = report.receipt().map(ToString::to_string);
            locked
                .open_exception(ExceptionKind::CallbackConflict, receipt, None, detail)
                .await?;
            return Ok(ReportOutcome::Conflict);
        }
        ReportClass::Declined => {
            locked.set_payment(PaymentLeg::Declined);
            ReportOutcome::Declined
        }
        ReportClass::DeclinedTooLate => ReportOutcome::DeclinedTooLate,
        _ => ReportOutcome::Duplicate,
    };
    locked.decide().await?;
    Ok(outcome)
}

async fn apply_payment(
    locked: &mut LockedDecision<'_>,
    verdict: ReportClass,
    tx: &DbTransaction<'_>,
    report: &PaymentReport,
) -> Result<ReportOutcome, HandlerError> {
    let receipt = report.receipt().map(ToString::to_string).unwrap_or_default();
    let ReportClass::FirstPayment { leg } = verdict else {
        let detail = "another payment under another receipt".to_owned();
        locked
            .open_exception(
                ExceptionKind::DuplicatePayment,
                Some(receipt.clone()),
                None,
                detail,
            )
            .await?;
        locked
            .open_owed_exception(&receipt, report.amount, "paid twice")
            .await?;
        locked.decide().await?;
        return Ok(ReportOutcome::AnotherPayment);
    };
    locked.first_payment = payments::first(tx, &report.tx_ref).await?;
    let outcome = match (leg, locked.first_payment.clone()) {
        (PaymentMatch::Accepted(leg), Some(first)) => {
            locked.record_match(leg, &first).await?;
            if leg == PaymentLeg::Mismatched {
                ReportOutcome::Mismatched
            } else {
                ReportOutcome::Confirmed
            }
        }
        (PaymentMatch::Owed, _) => {
            locked
                .open_owed_exception(&receipt, report.amount, "paid after the payment was given up")
                .await?;
            ReportOutcome::PaidTooLate
        }
        _ => ReportOutcome::Orphan,
    };
    locked.decide().await?;
    Ok(outcome)
}

/// The gateway's time of receipt. It is sealed, and comes from the same clock as the windows.
fn received_at(state: &AppState, signed: &SignedReport) -> OffsetDateTime {
    let nanos = i128::from(signed.received_at) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or_else(|_| state.clock.now())
}

/// Why a stored report cannot be verified any more.
#[derive(Clone, Copy)]
enum Unverifiable {
    CompromisedKey,
    Tampered,
}

impl Unverifiable {
    const fn exception(self) -> ExceptionKind {
        match self {
            Self::CompromisedKey => ExceptionKind::CompromisedKey,
            Self::Tampered => ExceptionKind::ReportTampered,
        }
    }

    const fn outcome(self) -> ReportOutcome {
        match self {
            Self::CompromisedKey => ReportOutcome::CompromisedKey,
            Self::Tampered => ReportOutcome::Tampered,
        }
    }
}

/// Holds the txRef of a report that cannot be verified, and stores the result, so that the gateway does not re-send the
/// report for ever.
async fn hold_unverifiable(
    state: &AppState,
    signed: &SignedReport,
    why: Unverifiable,
    detail: String,
) -> Result<(), HandlerError> {
    // The claimed txRef is not verified; it only tells a person where to look.
    let claimed = PaymentReport::parse(&signed.body).map(|report| report.tx_ref.to_string());
    let tx_ref = claimed.unwrap_or_else(|_| signed.report_id.to_string());
    let mut client = state.pool.get().await?;
    let tx = client.begin().await?;
    if reports::outcome(&tx, signed.report_id).await?.is_none() {
        reports::set_outcome(&tx, signed.report_id, &tx_ref, why.outcome()).await?;
    }
    let exception = NewException {
        kind: why.exception(),
        tx_ref,
        intent_id: None,
        receipt: None,
        amount: None,
        detail,
    };
    exceptions::open(&tx, &exception).await?;
    tx.commit().await?;
    Ok(())
}
