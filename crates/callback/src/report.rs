//! `mpesa.result`: verify the raw report again, judge what it means, and let the decision follow.

use std::sync::Arc;

use domain::evidence::{EvidenceError, SignedReport};
use domain::payment::PaymentReport;
use messaging::wire::MpesaResult;
use messaging::{Delivery, Disposition, WorkQueue};
use storage::callback::exceptions::{self, ExceptionKind, NewException};
use storage::callback::payments::{self, NewPayment, PaymentRow};
use storage::callback::reports;
use storage::{DbTransaction, Inbox};
use time::OffsetDateTime;

use crate::case::{Because, Case, is_compromised};
use crate::desk::{Desk, DeskError};
use crate::judge::{FirstLeg, Recorded, ReportFacts, ReportVerdict, judge_report};
use crate::observe;

/// Groups messages of one txRef; believed for nothing else.
pub fn tx_ref(delivery: &Delivery<MpesaResult>) -> String {
    PaymentReport::parse(&delivery.body.report.body).map_or_else(
        |_| delivery.message_id.to_string(),
        |report| report.tx_ref.to_string(),
    )
}

pub async fn handle(desk: Arc<Desk>, delivery: Arc<Delivery<MpesaResult>>) -> Result<Disposition, DeskError> {
    let body = &delivery.body;
    let source = if body.accepted_by.is_some() {
        "operator"
    } else {
        "mpesa"
    };
    let signed = &body.report;
    let report = match desk.open(signed) {
        Ok(report) => report,
        Err(EvidenceError::UnknownKey(_)) if is_compromised(&desk.pool.get().await?, signed).await? => {
            let detail = format!("report {} is signed with a compromised key", signed.report_id);
            hold(
                &desk,
                signed,
                (ExceptionKind::CompromisedKey, "compromised_key"),
                detail,
            )
            .await?;
            observe::report(source, "compromised_key");
            return Ok(Disposition::Done);
        }
        Err(EvidenceError::UnknownKey(kid)) => {
            tracing::warn!(kid, "report signed with a key that is not mounted here");
            observe::report(source, "waits_for_key");
            return Ok(Disposition::Later);
        }
        Err(error) => {
            let detail = format!("report {}: {error}", signed.report_id);
            hold(&desk, signed, (ExceptionKind::ReportTampered, "tampered"), detail).await?;
            observe::report(source, "tampered");
            return Ok(Disposition::park("report_tampered", error.to_string()));
        }
    };
    let mut client = desk.pool.get().await?;
    let tx = client.begin().await?;
    let new = Inbox::Callback
        .insert_new(&tx, WorkQueue::MpesaResult.name(), &[delivery.message_id])
        .await?;
    if new.is_empty() {
        return Ok(Disposition::Done);
    }
    let because = Because {
        cause: WorkQueue::MpesaResult.name(),
        message_id: Some(delivery.message_id),
    };
    let mut case = Case::open(&desk, &tx, &report.tx_ref, because).await?;
    let status = take_in(&desk, &tx, &mut case, body, &report).await?;
    let closed = case.close().await?;
    tx.commit().await?;
    closed.announce(&desk);
    observe::report(source, status);
    Ok(Disposition::Done)
}

/// Outcomes after which a report has nothing more to say, however often it is sent again.
fn is_settled(outcome: &str) -> bool {
    !matches!(outcome, "late" | "tampered" | "compromised_key")
}

async fn take_in(
    desk: &Desk,
    tx: &DbTransaction<'_>,
    case: &mut Case<'_>,
    body: &MpesaResult,
    report: &PaymentReport,
) -> Result<&'static str, DeskError> {
    let signed = &body.report;
    if reports::outcome(tx, signed.report_id)
        .await?
        .is_some_and(|outcome| is_settled(&outcome))
    {
        return Ok("repeated");
    }
    let receipt = report.receipt().map(ToString::to_string);
    let status = if body.late && body.accepted_by.is_none() {
        let detail = format!("report {} came with a stale timestamp", signed.report_id);
        case.except(ExceptionKind::LateReport, receipt, Some(report.amount), detail)
            .await?;
        "late"
    } else if is_compromised(tx, signed).await? {
        let detail = format!("report {} is signed with a compromised key", signed.report_id);
        case.except(ExceptionKind::CompromisedKey, receipt, None, detail)
            .await?;
        "compromised_key"
    } else {
        if let Some(by) = &body.accepted_by {
            exceptions::resolve_late_report(tx, report.tx_ref.as_str(), receipt.as_deref(), by).await?;
        }
        judge(desk, tx, case, signed, report).await?
    };
    reports::set_outcome(tx, signed.report_id, report.tx_ref.as_str(), status).await?;
    Ok(status)
}

async fn judge(
    desk: &Desk,
    tx: &DbTransaction<'_>,
    case: &mut Case<'_>,
    signed: &SignedReport,
    report: &PaymentReport,
) -> Result<&'static str, DeskError> {
    let received_at = received_at(desk, signed);
    loop {
        let known = match report.receipt() {
            Some(receipt) => payments::by_receipt(tx, receipt).await?,
            None => None,
        };
        let verdict = judge_report(&ReportFacts {
            report,
            same_receipt: known.as_ref().map(|known| Recorded {
                tx_ref: &known.tx_ref,
                amount: known.amount,
            }),
            has_first: case.first.is_some(),
            expected: case.expected(),
            payment: case.decision.payment_leg,
            refund_commanded: case.decision.refund_commanded,
        });
        let is_first = match verdict {
            ReportVerdict::First { .. } => true,
            ReportVerdict::Further => false,
            _ => return without_payment(case, verdict, report, known.as_ref()).await,
        };
        let Some(receipt) = report.receipt() else {
            return Ok("declined_in_vain");
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
        // Someone may be recording the same receipt under another txRef right now: then look again.
        if payments::insert(tx, &new).await? {
            return with_payment(case, verdict, tx, report).await;
        }
    }
}

async fn without_payment(
    case: &mut Case<'_>,
    verdict: ReportVerdict,
    report: &PaymentReport,
    known: Option<&PaymentRow>,
) -> Result<&'static str, DeskError> {
    let status = match verdict {
        ReportVerdict::Conflict => {
            let detail = known.map_or_else(String::new, |known| {
                let said = if report.is_paid() { "paid" } else { "declined" };
                format!(
                    "receipt {} is recorded for {} over {} KES; this report says {said} for {} over {} KES",
                    known.receipt, known.tx_ref, known.amount, report.tx_ref, report.amount
                )
            });
            let receipt = report.receipt().map(ToString::to_string);
            case.except(ExceptionKind::CallbackConflict, receipt, None, detail)
                .await?;
            return Ok("conflict");
        }
        ReportVerdict::Declined => {
            case.set_payment(domain::intent::PaymentLeg::Declined);
            "declined"
        }
        ReportVerdict::DeclinedInVain => "declined_in_vain",
        _ => "duplicate",
    };
    case.settle().await?;
    Ok(status)
}

async fn with_payment(
    case: &mut Case<'_>,
    verdict: ReportVerdict,
    tx: &DbTransaction<'_>,
    report: &PaymentReport,
) -> Result<&'static str, DeskError> {
    let receipt = report.receipt().map(ToString::to_string).unwrap_or_default();
    let ReportVerdict::First { leg } = verdict else {
        let detail = "a further payment under another receipt".to_owned();
        case.except(
            ExceptionKind::DuplicatePayment,
            Some(receipt.clone()),
            None,
            detail,
        )
        .await?;
        case.owe(&receipt, report.amount, "paid twice").await?;
        case.settle().await?;
        return Ok("further");
    };
    case.first = payments::first(tx, &report.tx_ref).await?;
    let status = match (leg, case.first.clone()) {
        (FirstLeg::Becomes(leg), Some(first)) => {
            case.confirm(leg, &first).await?;
            leg.name()
        }
        (FirstLeg::Owed, _) => {
            case.owe(&receipt, report.amount, "paid after the payment was given up")
                .await?;
            "too_late"
        }
        _ => "orphan",
    };
    case.settle().await?;
    Ok(status)
}

/// The gateway's time of receipt; it is sealed, and counts from the same clock as the windows.
fn received_at(desk: &Desk, signed: &SignedReport) -> OffsetDateTime {
    let nanos = i128::from(signed.received_at) * 1_000_000;
    OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or_else(|_| desk.clock.now())
}

/// A report that cannot be verified: its outcome is kept, so that nobody sends it again and again; the txRef is held.
async fn hold(
    desk: &Desk,
    signed: &SignedReport,
    (kind, outcome): (ExceptionKind, &'static str),
    detail: String,
) -> Result<(), DeskError> {
    // Not believed: it only says where a person should look.
    let claimed = PaymentReport::parse(&signed.body).map(|report| report.tx_ref.to_string());
    let tx_ref = claimed.unwrap_or_else(|_| signed.report_id.to_string());
    let mut client = desk.pool.get().await?;
    let tx = client.begin().await?;
    if reports::outcome(&tx, signed.report_id).await?.is_none() {
        reports::set_outcome(&tx, signed.report_id, &tx_ref, outcome).await?;
    }
    let exception = NewException {
        kind,
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
