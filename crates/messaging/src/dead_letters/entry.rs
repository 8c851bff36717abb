//! A parked message with its failure report, as the on-call engineer reads it.

use domain::ids::{IntentId, MessageId};
use domain::signature::sha256;
use lapin::types::{AMQPValue, FieldTable};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::amqp;
use crate::envelope::{Envelope, trace_id};
use crate::failure_report::{ATTEMPTS, CLASS, FAILED_AT, LAST_TX, SERVICE, TEXT, TRACE, VERSION};
use crate::names::WorkQueue;

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

impl DeadLetter {
    pub(crate) fn read(queue: WorkQueue, delivery: lapin::message::Delivery) -> Self {
        let lapin::message::Delivery {
            properties,
            data: payload,
            ..
        } = delivery;
        let none = FieldTable::default();
        let headers = properties.headers().as_ref().unwrap_or(&none);
        let text = |name: &str| headers.inner().get(name).and_then(amqp::text);
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
            reason: field("reason").and_then(amqp::text).unwrap_or_default(),
            count: field("count")
                .and_then(amqp::unsigned_integer)
                .unwrap_or_default(),
            at: field("time")
                .and_then(amqp::unsigned_integer)
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

fn fingerprint(payload: &[u8]) -> String {
    format!("sha256:{}", hex::encode(&sha256(payload)[..8]))
}
