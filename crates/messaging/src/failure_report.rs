//! What a service reports when it parks a message, and the headers of the parked copy that carry the report.

use lapin::types::FieldTable;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::amqp;
use crate::envelope::{Envelope, MAX_MESSAGE_BYTES, trace_id};
use crate::names::WorkQueue;

/// Maximum length of an error text, in characters.
const MAX_TEXT: usize = 500;

pub(crate) const ORIGIN: &str = "x-fr-origin-queue";
pub(crate) const CLASS: &str = "x-fr-class";
pub(crate) const TEXT: &str = "x-fr-text";
pub(crate) const FIRST_SEEN: &str = "x-fr-first-seen";
pub(crate) const FAILED_AT: &str = "x-fr-failed-at";
pub(crate) const ATTEMPTS: &str = "x-fr-attempts";
pub(crate) const SERVICE: &str = "x-fr-service";
pub(crate) const VERSION: &str = "x-fr-version";
pub(crate) const INTENT: &str = "x-fr-intent-id";
pub(crate) const LAST_TX: &str = "x-fr-last-tx-hash";
pub(crate) const TRACE: &str = "x-fr-trace-id";

/// Why a message was parked, when, after how many attempts, and by whom.
#[derive(Clone, Copy, Debug)]
pub struct FailureReport<'a> {
    pub class: &'a str,
    pub text: &'a str,
    pub attempts: u64,
    pub last_tx_hash: Option<[u8; 32]>,
    pub failed_at: OffsetDateTime,
    pub service: &'a str,
    pub version: &'a str,
}

impl FailureReport<'_> {
    /// The headers of a parked copy, built from the envelope, never from earlier headers.
    pub(crate) fn headers(
        &self,
        origin: WorkQueue,
        envelope: Option<&Envelope>,
    ) -> Vec<(&'static str, String)> {
        let mut all = vec![
            (ORIGIN, origin.name().to_owned()),
            (CLASS, self.class.to_owned()),
            (TEXT, one_line(self.text)),
            (FAILED_AT, rfc3339(self.failed_at)),
            (ATTEMPTS, self.attempts.to_string()),
            (SERVICE, self.service.to_owned()),
            (VERSION, self.version.to_owned()),
        ];
        if let Some(envelope) = envelope {
            all.push((FIRST_SEEN, rfc3339(envelope.first_seen)));
            all.extend(envelope.intent_id.map(|id| (INTENT, id.to_string())));
            let trace = envelope.traceparent.as_deref().and_then(trace_id);
            all.extend(trace.map(|id| (TRACE, id.to_owned())));
        }
        let last_tx = self.last_tx_hash.map(|hash| format!("0x{}", hex::encode(hash)));
        all.extend(last_tx.map(|hash| (LAST_TX, hash)));
        all
    }
}

/// Copies our own headers of an entry, and no others.
pub(crate) fn own_headers(headers: Option<&FieldTable>) -> Vec<(&'static str, String)> {
    let ours = [
        ORIGIN, CLASS, TEXT, FIRST_SEEN, FAILED_AT, ATTEMPTS, SERVICE, VERSION, INTENT, LAST_TX, TRACE,
    ];
    let read = |name| Some((name, amqp::text(headers?.inner().get(name)?)?));
    ours.into_iter().filter_map(read).collect()
}

/// Limits the size of a payload: foreign bytes are kept as evidence, but not more than a message may have.
pub(crate) fn truncate_payload(payload: &[u8]) -> Vec<u8> {
    payload[..payload.len().min(MAX_MESSAGE_BYTES)].to_vec()
}

/// Limits the length and removes control characters, so that an entry cannot send escape codes to a terminal.
fn one_line(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_TEXT)
        .collect()
}

fn rfc3339(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn error_texts_are_bounded_and_have_no_control_characters(text in "(?s).{0,2000}") {
            let line = one_line(&text);
            prop_assert!(line.chars().count() <= MAX_TEXT && !line.chars().any(char::is_control));
        }
    }

    #[test]
    fn foreign_bytes_are_cut() {
        assert_eq!(
            truncate_payload(&vec![0; MAX_MESSAGE_BYTES + 5]).len(),
            MAX_MESSAGE_BYTES
        );
    }
}
