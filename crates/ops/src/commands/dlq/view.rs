//! Formats one parked message, using nothing but the message itself.

use base64::Engine as _;
use messaging::dead_letters::DeadLetter;
use messaging::{OpenError, Opener};
use serde_json::{Value, json};

use crate::output::{Style, TextPage};
use crate::text::timestamp;

/// The state of the seal, verified with the keys that are mounted here.
pub fn seal(entry: &DeadLetter, opener: &Opener) -> &'static str {
    match opener.open(entry.origin, &entry.payload) {
        Ok(_) => "valid",
        Err(OpenError::UnknownKid { .. }) => "unknown key",
        Err(OpenError::SealInvalid) => "INVALID",
        Err(OpenError::Malformed(_)) => "malformed",
    }
}

/// The payment reference that an entry claims. Not verified, so it is only good for finding the entry.
pub fn tx_ref(entry: &DeadLetter) -> Option<String> {
    let envelope: Value = serde_json::from_slice(&entry.payload).ok()?;
    let body: Value = serde_json::from_str(envelope.get("body")?.as_str()?).ok()?;
    if let Some(tx_ref) = body.pointer("/intent/txRef") {
        return tx_ref.as_str().map(str::to_owned);
    }
    let raw = base64::engine::general_purpose::STANDARD
        .decode(body.pointer("/report/body")?.as_str()?)
        .ok()?;
    let report: Value = serde_json::from_slice(&raw).ok()?;
    report.get("txRef")?.as_str().map(str::to_owned)
}

pub fn document(entry: &DeadLetter, opener: &Opener, with_payload: bool) -> Value {
    let mut document = json!({
        "id": entry.id,
        "queue": entry.origin.name(),
        "class": entry.class,
        "text": entry.text,
        "attempts": entry.attempts,
        "firstSeen": entry.first_seen.map(timestamp),
        "failedAt": entry.failed_at.map(timestamp),
        "service": entry.service,
        "version": entry.version,
        "intentId": entry.intent_id,
        "txRef": tx_ref(entry),
        "lastTxHash": entry.last_tx_hash,
        "traceId": entry.trace_id,
        "seal": seal(entry, opener),
    });
    if with_payload {
        document["payload"] = payload(entry);
    }
    document
}

/// The envelope with its body as JSON; foreign bytes as text.
fn payload(entry: &DeadLetter) -> Value {
    let Ok(mut envelope) = serde_json::from_slice::<Value>(&entry.payload) else {
        return String::from_utf8_lossy(&entry.payload).into_owned().into();
    };
    let body = envelope
        .get("body")
        .and_then(Value::as_str)
        .and_then(|body| serde_json::from_str(body).ok());
    if let (Some(body), Some(object)) = (body, envelope.as_object_mut()) {
        object.insert("body".to_owned(), body);
    }
    envelope
}

pub fn describe(page: &mut TextPage, entry: &DeadLetter, opener: &Opener) {
    page.field("id", &entry.id);
    page.field("queue", entry.origin.name());
    page.styled(Style::Bad, format!("{}: {}", entry.class, entry.text));
    page.field("attempts", entry.attempts.to_string());
    page.field_opt("first seen", entry.first_seen.map(timestamp));
    page.field_opt("failed at", entry.failed_at.map(timestamp));
    page.field("parked by", format!("{} {}", entry.service, entry.version));
    page.field_opt("txRef", tx_ref(entry));
    page.field_opt("intent id", entry.intent_id.map(|id| id.to_string()));
    page.field_opt("last transaction", entry.last_tx_hash.as_ref());
    page.field_opt("trace id", entry.trace_id.as_ref());
    page.field("seal", seal(entry, opener));
    page.section("message");
    let text = serde_json::to_string_pretty(&payload(entry)).unwrap_or_default();
    for line in text.lines() {
        page.line(line);
    }
}
