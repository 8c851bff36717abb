//! Selects dead-letter entries.

use anyhow::Result;
use clap::Args;
use domain::ids::IntentId;
use messaging::WorkQueue;
use messaging::dead_letters::DeadLetter;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::view;
use crate::text::parse_since;
use crate::user_error::user_error;

/// The selection options; an entry must match all that are given.
#[derive(Args, Clone, Default)]
pub struct DeadLetterSelection {
    /// Select only this queue: mint.submit, mint.execute, mint.refund, mint.outcome, mpesa.result [default: all]
    #[arg(long)]
    pub queue: Option<WorkQueue>,
    /// Select only this error class, e.g. seal_invalid
    #[arg(long)]
    pub class: Option<String>,
    /// Select only entries about this intent (0x...)
    #[arg(long, value_name = "ID")]
    pub intent: Option<IntentId>,
    /// Select only entries about this payment reference
    #[arg(long, value_name = "TXREF")]
    pub tx_ref: Option<String>,
    /// Select only entries that failed before: 15m, 6h, 2d ago or an RFC 3339 time
    #[arg(long, value_name = "AGE")]
    pub older_than: Option<String>,
    /// Select only entries that failed since: 15m, 6h, 2d ago or an RFC 3339 time
    #[arg(long, value_name = "AGE")]
    pub newer_than: Option<String>,
    /// Select only entries whose error text contains this, ignoring case
    #[arg(long)]
    pub text: Option<String>,
}

/// The selection with its ages resolved to times.
pub struct DeadLetterFilter<'a> {
    which: &'a DeadLetterSelection,
    before: Option<OffsetDateTime>,
    after: Option<OffsetDateTime>,
    text: Option<String>,
}

impl DeadLetterSelection {
    pub fn queues(&self) -> Vec<WorkQueue> {
        self.queue
            .map_or_else(|| WorkQueue::ALL.to_vec(), |queue| vec![queue])
    }

    pub fn is_unrestricted(&self) -> bool {
        self.queue.is_none()
            && self.class.is_none()
            && self.intent.is_none()
            && self.tx_ref.is_none()
            && self.older_than.is_none()
            && self.newer_than.is_none()
            && self.text.is_none()
    }

    pub fn filter(&self, now: OffsetDateTime) -> Result<DeadLetterFilter<'_>> {
        let moment = |flag: &str, age: &Option<String>| {
            age.as_deref()
                .map(|text| {
                    parse_since(text, now).ok_or_else(|| {
                        user_error(
                            format!("{flag} {text:?} is no age and no time"),
                            "write e.g. 15m, 6h, 2d or 2026-01-31T12:00:00Z",
                        )
                    })
                })
                .transpose()
        };
        Ok(DeadLetterFilter {
            which: self,
            before: moment("--older-than", &self.older_than)?,
            after: moment("--newer-than", &self.newer_than)?,
            text: self.text.as_ref().map(|text| text.to_lowercase()),
        })
    }

    /// For the audit log.
    pub fn document(&self, id: Option<&str>) -> Value {
        json!({
            "id": id,
            "queue": self.queue.map(WorkQueue::name),
            "class": self.class,
            "intentId": self.intent,
            "txRef": self.tx_ref,
            "olderThan": self.older_than,
            "newerThan": self.newer_than,
            "text": self.text,
        })
    }
}

impl DeadLetterFilter<'_> {
    pub fn matches(&self, entry: &DeadLetter) -> bool {
        let which = self.which;
        // An entry without any time matches no age.
        let at = entry.failed_at.or(entry.first_seen);
        which.queue.is_none_or(|queue| queue == entry.origin)
            && which.class.as_ref().is_none_or(|class| *class == entry.class)
            && which
                .intent
                .is_none_or(|intent| entry.intent_id == Some(intent))
            && self.before.is_none_or(|before| at.is_some_and(|at| at < before))
            && self.after.is_none_or(|after| at.is_some_and(|at| at >= after))
            && self
                .text
                .as_ref()
                .is_none_or(|text| entry.text.to_lowercase().contains(text))
            // This check comes last, because it parses the payload.
            && which
                .tx_ref
                .as_ref()
                .is_none_or(|tx_ref| view::tx_ref(entry).as_ref() == Some(tx_ref))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> DeadLetter {
        let at = OffsetDateTime::from_unix_timestamp(1_767_225_600).ok();
        DeadLetter {
            id: "x".into(),
            message_id: None,
            intent_id: None,
            origin: WorkQueue::MintRefund,
            class: "storage".into(),
            text: "Connection REFUSED".into(),
            first_seen: None,
            failed_at: at,
            attempts: 6,
            service: "callback".into(),
            version: "1".into(),
            last_tx_hash: None,
            trace_id: None,
            payload: br#"{"body":"{\"intent\":{\"txRef\":\"TX1\"}}"}"#.to_vec(),
        }
    }

    #[test]
    fn every_filter_can_leave_an_entry_out() {
        let now = OffsetDateTime::from_unix_timestamp(1_767_225_600 + 3600).unwrap();
        let text = |text: &str| Some(text.to_owned());
        let cases: [(DeadLetterSelection, bool); 14] = [
            (DeadLetterSelection::default(), true),
            (
                DeadLetterSelection {
                    queue: Some(WorkQueue::MintRefund),
                    ..DeadLetterSelection::default()
                },
                true,
            ),
            (
                DeadLetterSelection {
                    queue: Some(WorkQueue::MintSubmit),
                    ..DeadLetterSelection::default()
                },
                false,
            ),
            (
                DeadLetterSelection {
                    class: text("storage"),
                    ..DeadLetterSelection::default()
                },
                true,
            ),
            (
                DeadLetterSelection {
                    class: text("stor"),
                    ..DeadLetterSelection::default()
                },
                false,
            ),
            (
                DeadLetterSelection {
                    tx_ref: text("TX1"),
                    ..DeadLetterSelection::default()
                },
                true,
            ),
            (
                DeadLetterSelection {
                    tx_ref: text("TX"),
                    ..DeadLetterSelection::default()
                },
                false,
            ),
            (
                DeadLetterSelection {
                    older_than: text("30m"),
                    ..DeadLetterSelection::default()
                },
                true,
            ),
            (
                DeadLetterSelection {
                    older_than: text("2h"),
                    ..DeadLetterSelection::default()
                },
                false,
            ),
            (
                DeadLetterSelection {
                    newer_than: text("2h"),
                    ..DeadLetterSelection::default()
                },
                true,
            ),
            (
                DeadLetterSelection {
                    newer_than: text("30m"),
                    ..DeadLetterSelection::default()
                },
                false,
            ),
            (
                DeadLetterSelection {
                    text: text("connection refused"),
                    ..DeadLetterSelection::default()
                },
                true,
            ),
            (
                DeadLetterSelection {
                    text: text("time-out"),
                    ..DeadLetterSelection::default()
                },
                false,
            ),
            (
                DeadLetterSelection {
                    intent: Some(IntentId::from_bytes([1; 32])),
                    ..DeadLetterSelection::default()
                },
                false,
            ),
        ];
        for (number, (which, wanted)) in cases.iter().enumerate() {
            assert_eq!(
                which.filter(now).unwrap().matches(&entry()),
                *wanted,
                "case {number}"
            );
            assert_eq!(which.is_unrestricted(), number == 0, "case {number}");
        }
        let bad = DeadLetterSelection {
            older_than: text("old"),
            ..DeadLetterSelection::default()
        };
        assert!(bad.filter(now).is_err());
    }
}
