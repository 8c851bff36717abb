//! A parked message and its failure report: a service writes the report when it parks, the on-call engineer reads it.

use domain::ids::{IntentId, MessageId};
use domain::signature::sha256;
use lapin::types::{AMQPValue, FieldTable};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::consume::unsigned_integer;
use crate::envelope::{Envelope, MAX_MESSAGE_BYTES, trace_id};
use crate::topology::WorkQueue;

/// Maximum length of an error text, in characters.
const MAX_TEXT: usize = 500;

const ORIGIN: &str = "x-fr-origin-queue";
const CLASS: &str = "x-fr-class";
const TEXT: &str = "x-fr-text";
const FIRST_SEEN: &str = "x-fr-first-seen";
const FAILED_AT: &str = "x-fr-failed-at";
const ATTEMPTS: &str = "x-fr-attempts";
const SERVICE: &str = "x-fr-service";
const VERSION: &str = "x-fr-version";
const INTENT: &str = "x-fr-intent-id";
const LAST_TX: &str = "x-fr-last-tx-hash";
const TRACE: &str = "x-fr-trace-id";

/// One entry of a dead-letter queue. The headers are for reading only: any service could have written them, and only a
/// verified seal is trustworthy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Identifies the entry: the message id, or `sha256:<16 hex>` for bytes that are no envelope.
    pub id: String,
    pub message_id: Option<MessageId>,
    pub intent_id: Option<IntentId>,
    /// The work queue that the message came from.
    pub origin: WorkQueue,
    /// `delivery_limit`, `rejected`, `expired`, `maxlen` when the broker itself dead-lettered it.
    pub class: String,
    pub text: String,
    pub first_seen: Option<OffsetDateTime>,
    pub failed_at: Option<OffsetDateTime>,
    pub attempts: u32,
    /// The service that parked it; empty if the broker dead-lettered it.
    pub service: String,
    pub version: String,
    pub last_tx_hash: Option<String>,
    pub trace_id: Option<String>,
    /// The original message, including its seal.
    pub payload: Vec<u8>,
}

/// What a service reports when it parks a message.
#[derive(Clone, Copy, Debug)]
pub struct FailureReport<'a> {
    pub class: &'a str,
    pub text: &'a str,
    pub attempts: u64,
    pub last_tx_hash: Option<[u8; 32]>,
}

/// Builds the headers of a parked copy from the envelope, never from earlier headers.
pub(crate) fn headers(
    origin: WorkQueue,
    envelope: Option<&Envelope>,
    report: &FailureReport<'_>,
    now: OffsetDateTime,
    (service, version): (&str, &str),
) -> Vec<(&'static str, String)> {
    let mut all = vec![
        (ORIGIN, origin.name().to_owned()),
        (CLASS, report.class.to_owned()),
        (TEXT, one_line(report.text)),
        (FAILED_AT, rfc3339(now)),
        (ATTEMPTS, report.attempts.to_string()),
        (SERVICE, service.to_owned()),
        (VERSION, version.to_owned()),
    ];
    if let Some(envelope) = envelope {
        all.push((FIRST_SEEN, rfc3339(envelope.first_seen)));
        all.extend(envelope.intent_id.map(|id| (INTENT, id.to_string())));
        let trace = envelope.traceparent.as_deref().and_then(trace_id);
        all.extend(trace.map(|id| (TRACE, id.to_owned())));
    }
    all.extend(
        report
            .last_tx_hash
            .map(|hash| (LAST_TX, format!("0x{}", hex::encode(hash)))),
    );
    all
}

/// Copies our own headers of an entry, and no others.
pub(crate) fn own_headers(headers: Option<&FieldTable>) -> Vec<(&'static str, String)> {
    let ours = [
        ORIGIN, CLASS, TEXT, FIRST_SEEN, FAILED_AT, ATTEMPTS, SERVICE, VERSION, INTENT, LAST_TX, TRACE,
    ];
    let read = |name| Some((name, header_text(headers?.inner().get(name)?)?));
    ours.into_iter().filter_map(read).collect()
}

/// Limits the size of a payload: foreign bytes are kept as evidence, but not more than a message may have.
pub(crate) fn truncate_payload(payload: &[u8]) -> Vec<u8> {
    payload[..payload.len().min(MAX_MESSAGE_BYTES)].to_vec()
}

impl DeadLetter {
    pub(crate) fn read(queue: WorkQueue, delivery: lapin::message::Delivery) -> Self {
        let lapin::message::Delivery {
            properties,
            data: payload,
            ..
        } = delivery;
        let none = FieldTable::default();
        let headers = properties.headers().as_ref().unwrap_or(&none);
        let text = |name: &str| headers.inner().get(name).and_then(header_text);
        let native = NativeDeath::read(headers);
        let envelope = Envelope::parse(&payload).ok();
        let message_id = envelope.as_ref().map(|e| e.message_id);
        let id = message_id.map_or_else(|| fingerprint(&payload), |id| id.to_string());
        let hint = |f: fn(&Envelope) -> Option<String>| envelope.as_ref().and_then(f);
        Self {
            id,
            message_id,
            intent_id: envelope.as_ref().and_then(|e| e.intent_id),
            origin: queue,
            class: text(CLASS)
                .or_else(|| native.as_ref().map(|n| n.reason.clone()))
                .unwrap_or_default(),
            text: text(TEXT)
                .or_else(|| native.as_ref().map(NativeDeath::sentence))
                .unwrap_or_default(),
            first_seen: envelope.as_ref().map(|e| e.first_seen),
            failed_at: text(FAILED_AT)
                .and_then(|at| OffsetDateTime::parse(&at, &Rfc3339).ok())
                .or_else(|| native.as_ref().and_then(|n| n.at)),
            attempts: text(ATTEMPTS)
                .and_then(|n| n.parse().ok())
                .or_else(|| envelope.as_ref().map(|e| e.attempt))
                .unwrap_or_default(),
            service: text(SERVICE).unwrap_or_default(),
            version: text(VERSION).unwrap_or_default(),
            last_tx_hash: text(LAST_TX),
            trace_id: text(TRACE)
                .or_else(|| hint(|e| e.traceparent.as_deref().and_then(trace_id).map(str::to_owned))),
            payload,
        }
    }
}

/// What RabbitMQ writes on a message that it dead-letters itself.
struct NativeDeath {
    reason: String,
    count: u64,
    at: Option<OffsetDateTime>,
}

impl NativeDeath {
    fn read(headers: &FieldTable) -> Option<Self> {
        let AMQPValue::FieldArray(deaths) = headers.inner().get("x-death")? else {
            return None;
        };
        let AMQPValue::FieldTable(latest) = deaths.as_slice().first()? else {
            return None;
        };
        let field = |name: &str| latest.inner().get(name);
        Some(Self {
            reason: field("reason").and_then(header_text).unwrap_or_default(),
            count: field("count").and_then(unsigned_integer).unwrap_or_default(),
            at: field("time")
                .and_then(unsigned_integer)
                .and_then(|s| i64::try_from(s).ok())
                .and_then(|s| OffsetDateTime::from_unix_timestamp(s).ok()),
        })
    }

    fn sentence(&self) -> String {
        format!(
            "dead-lettered by the broker ({} times): {}",
            self.count, self.reason
        )
    }
}

fn header_text(value: &AMQPValue) -> Option<String> {
    match value {
        AMQPValue::LongString(text) => Some(String::from_utf8_lossy(text.as_bytes()).into_owned()),
        AMQPValue::ShortString(text) => Some(text.as_str().to_owned()),
        _ => None,
    }
}

fn fingerprint(payload: &[u8]) -> String {
    format!("sha256:{}", hex::encode(&sha256(payload)[..8]))
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
