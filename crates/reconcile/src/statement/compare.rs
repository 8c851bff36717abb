//! Compares one row of the statement with what we recorded. Pure functions.

use std::time::Duration;

use storage::ops::statement::{PaidReportRow, RecordedPaymentRow};
use time::OffsetDateTime;

use super::ComparedPeriod;
use super::file::StatementRow;

/// A difference between the statement and the recorded payments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementDifference {
    pub kind: &'static str,
    pub receipt: String,
    pub tx_ref: Option<String>,
    pub at: OffsetDateTime,
    pub detail: String,
}

impl StatementDifference {
    pub fn of(row: &StatementRow, kind: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind,
            receipt: row.receipt.clone(),
            tx_ref: row.account.clone(),
            at: row.completed_at,
            detail: detail.into(),
        }
    }
}

/// `reported` is the stored report with this receipt, whatever its result.
pub fn compare_row(
    row: &StatementRow,
    recorded: Option<&RecordedPaymentRow>,
    linked: Option<&RecordedPaymentRow>,
    reported: Option<&PaidReportRow>,
) -> Option<StatementDifference> {
    if !row.completed {
        let recorded = recorded?;
        let detail = format!(
            "M-Pesa says {:?}, we recorded {} KES as paid",
            row.status, recorded.shillings
        );
        return Some(StatementDifference::of(row, "not_completed", detail));
    }
    if !row.is_paid_in() {
        // A withdrawal matters only if it reverses a payment of ours.
        let reversal = linked?;
        let detail = format!(
            "M-Pesa took {} back of {}, which we recorded for {}: {}",
            shillings(row.withdrawn_cents),
            reversal.receipt,
            reversal.tx_ref,
            row.details
        );
        return Some(StatementDifference::of(row, "reversed", detail));
    }
    let Some(recorded) = recorded else {
        let (kind, detail) = match reported.map(|report| report.outcome) {
            None => {
                // Reports are found by their txRef.
                let what = match row.account {
                    Some(_) => "no report came",
                    None => "no payment is recorded (the line names no account to find a report by)",
                };
                let paid = shillings(row.paid_in_cents);
                ("never_heard_of", format!("{paid} were paid in, and {what}"))
            }
            Some(None) => (
                "not_judged",
                "a report is stored but not yet processed".to_owned(),
            ),
            Some(Some(outcome)) => (
                "not_recorded",
                format!("a report is stored, and it is no payment: {outcome}"),
            ),
        };
        return Some(StatementDifference::of(row, kind, detail));
    };
    if recorded.shillings.checked_mul(100) != Some(row.paid_in_cents) {
        let detail = format!(
            "{} were paid in, we recorded {} KES",
            shillings(row.paid_in_cents),
            recorded.shillings
        );
        return Some(StatementDifference::of(row, "amount", detail));
    }
    match &row.account {
        Some(account) if *account != recorded.tx_ref => {
            let detail = format!("paid for {account:?}, recorded for {:?}", recorded.tx_ref);
            Some(StatementDifference::of(row, "tx_ref", detail))
        }
        _ => None,
    }
}

/// The difference for a payment that the statement does not contain; `None` if the payment is so close to an end of the
/// period that M-Pesa may count it in the adjacent period.
pub fn missing_payment(
    payment: &RecordedPaymentRow,
    period: ComparedPeriod,
    edge: Duration,
) -> Option<StatementDifference> {
    let inside = payment.received_at >= period.from + edge && payment.received_at <= period.to - edge;
    inside.then(|| StatementDifference {
        kind: "not_in_statement",
        receipt: payment.receipt.clone(),
        tx_ref: Some(payment.tx_ref.clone()),
        at: payment.received_at,
        detail: format!("we recorded {} KES, the statement lacks it", payment.shillings),
    })
}

pub fn shillings(cents: u64) -> String {
    format!("{}.{:02} KES", cents / 100, cents % 100)
}

#[cfg(test)]
mod tests {
    use domain::report_outcome::ReportOutcome;

    use super::*;

    fn at(seconds: i64) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(1_762_000_000 + seconds).unwrap()
    }

    fn row() -> StatementRow {
        StatementRow {
            receipt: "SK1".into(),
            completed_at: at(0),
            completed: true,
            status: "Completed".into(),
            details: "Pay Bill".into(),
            paid_in_cents: 15000,
            withdrawn_cents: 0,
            account: Some("TX1".into()),
            linked: None,
        }
    }

    fn ours() -> RecordedPaymentRow {
        RecordedPaymentRow {
            receipt: "SK1".into(),
            tx_ref: "TX1".into(),
            shillings: 150,
            received_at: at(3600),
        }
    }

    #[test]
    fn every_difference_has_its_name() {
        let failed = StatementRow {
            completed: false,
            status: "Failed".into(),
            ..row()
        };
        let reversal = StatementRow {
            paid_in_cents: 0,
            withdrawn_cents: 15000,
            linked: Some("SK1".into()),
            ..row()
        };
        let charge = StatementRow {
            paid_in_cents: 0,
            withdrawn_cents: 500,
            ..row()
        };
        let other = StatementRow {
            account: Some("TX2".into()),
            ..row()
        };
        let cents = StatementRow {
            paid_in_cents: 15001,
            ..row()
        };
        let (ours, none) = (ours(), None);
        let waiting = PaidReportRow {
            receipt: "SK1".into(),
            tx_ref: "TX1".into(),
            outcome: None,
        };
        let reported = PaidReportRow {
            outcome: Some(ReportOutcome::Conflict),
            ..waiting.clone()
        };
        let table = [
            (&row(), Some(&ours), none, None, None),
            (&row(), none, none, None, Some("never_heard_of")),
            (&row(), none, none, Some(&waiting), Some("not_judged")),
            (&row(), none, none, Some(&reported), Some("not_recorded")),
            (&cents, Some(&ours), none, None, Some("amount")),
            (&other, Some(&ours), none, None, Some("tx_ref")),
            (&failed, Some(&ours), none, None, Some("not_completed")),
            (&failed, none, none, None, None),
            (&reversal, none, Some(&ours), None, Some("reversed")),
            (&charge, none, none, None, None),
        ];
        for (row, recorded, linked, reported, wanted) in table {
            let found = compare_row(row, recorded, linked, reported);
            assert_eq!(found.as_ref().map(|d| d.kind), wanted, "{found:?}");
        }
    }

    #[test]
    fn a_difference_of_cents_is_told_to_the_cent() {
        let cents = StatementRow {
            paid_in_cents: 15005,
            ..row()
        };
        let found = compare_row(&cents, Some(&ours()), None, None).unwrap();
        assert!(found.detail.contains("150.05 KES"), "{}", found.detail);
    }

    #[test]
    fn a_payment_near_either_end_of_the_statement_is_not_missing() {
        let edge = Duration::from_mins(15);
        let period = ComparedPeriod {
            from: at(0),
            to: at(7200),
        };
        let reported = |seconds| {
            let payment = RecordedPaymentRow {
                received_at: at(seconds),
                ..ours()
            };
            missing_payment(&payment, period, edge).is_some()
        };
        assert!(reported(3600) && reported(900) && reported(6300));
        assert!(!reported(899) && !reported(6301));
    }
}
