use domain::ids::MessageId;
use lapin::types::{AMQPValue, FieldTable};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::names::WorkQueue;
use crate::publish::outgoing::Route;

const ID: &str = "018f0000-0000-7000-8000-000000000001";

fn policy() -> RetryPolicy {
    RetryPolicy {
        max_attempts: 6,
        base_ms: 751,
        cap_ms: 30_000,
        seed: "fiatrails".into(),
    }
}

fn now() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap()
}

fn envelope(attempt: u32, first_seen: &str) -> Value {
    json!({
        "v": 1, "queue": "mint.submit.v1", "kid": "k1", "messageId": ID, "causationId": null,
        "intentId": format!("0x{}", "ab".repeat(32)), "body": "{\"a\":1}", "seal": "cd".repeat(32),
        "attempt": attempt, "firstSeen": first_seen,
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    })
}

fn raw(payload: &[u8], redeliveries: i64) -> RawDelivery {
    let mut delivery =
        lapin::message::Delivery::mock(1, "x".into(), "mint.submit.v1".into(), false, payload.to_vec());
    let mut headers = FieldTable::default();
    headers.insert("x-delivery-count".into(), AMQPValue::LongLongInt(redeliveries));
    headers.insert("x-death".into(), AMQPValue::LongString("stale".into()));
    delivery.properties = delivery.properties.with_headers(headers);
    RawDelivery::new(delivery, WorkQueue::MintSubmit)
}

fn at(attempt: u32, redeliveries: i64) -> RawDelivery {
    raw(
        &serde_json::to_vec(&envelope(attempt, "2025-12-31T23:59:00Z")).unwrap(),
        redeliveries,
    )
}

fn step(raw: &RawDelivery, result: DeliveryResult) -> BrokerAction {
    let policy = policy();
    plan(
        raw,
        result,
        &SettlementContext {
            retry: &policy,
            now: now(),
            service: "mint-executor",
            version: "1.2.3",
        },
    )
}

fn settled(raw: &RawDelivery, disposition: Disposition) -> BrokerAction {
    step(raw, DeliveryResult::Settle(disposition))
}

fn copy(step: BrokerAction) -> (Outgoing, CopyKind) {
    match step {
        BrokerAction::CopyThenAck(copy, kind) => (*copy, kind),
        other => panic!("no copy: {other:?}"),
    }
}

fn header<'a>(copy: &'a Outgoing, name: &str) -> &'a str {
    copy.headers
        .iter()
        .find(|(n, _)| *n == name)
        .map_or("", |(_, v)| v)
}

#[test]
fn done_is_an_ack_and_a_crash_a_counted_return() {
    assert!(matches!(settled(&at(1, 0), Disposition::Done), BrokerAction::Ack));
    assert!(matches!(
        step(&at(1, 0), DeliveryResult::Crashed),
        BrokerAction::Reject
    ));
}

#[test]
fn retries_follow_the_published_schedule_on_their_own_step() {
    let expected = [610, 1749, 3521, 5720, 9210];
    for (attempt, ms) in (1..).zip(expected) {
        let (copy, kind) = copy(settled(&at(attempt, 0), Disposition::retry("rpc", "no answer")));
        assert_eq!(kind, CopyKind::Retry);
        assert_eq!(copy.expiration, Some(Duration::from_millis(ms)));
        assert_eq!(copy.exchange, Route::Named(format!("fiatrails.retry.{attempt}")));
        assert_eq!(copy.routing_key, "mint.submit.v1");
        assert!(
            copy.headers.is_empty(),
            "nothing of the delivery's headers is copied"
        );
        let sent: Value = serde_json::from_slice(&copy.payload).unwrap();
        let mut expected = envelope(attempt + 1, "2025-12-31T23:59:00Z");
        expected["firstSeen"] = sent["firstSeen"].clone();
        assert_eq!(sent, expected, "only the attempt changes");
    }
}

#[test]
fn the_sixth_failure_parks_with_a_full_report() {
    let failed = Disposition::retry("rpc", "line one\nline two").with_tx([7; 32]);
    let (copy, kind) = copy(settled(&at(6, 0), failed));
    assert_eq!(kind, CopyKind::Park("rpc"));
    assert_eq!(
        (&copy.exchange, copy.routing_key.as_str()),
        (&Route::Named("fiatrails.dead".into()), "mint.submit.v1")
    );
    assert_eq!(copy.payload, at(6, 0).delivery.data, "the sealed bytes are kept");
    for (name, value) in [
        ("x-fr-origin-queue", "mint.submit.v1"),
        ("x-fr-class", "rpc"),
        ("x-fr-text", "line one line two"),
        ("x-fr-first-seen", "2025-12-31T23:59:00Z"),
        ("x-fr-failed-at", "2026-01-01T00:00:00Z"),
        ("x-fr-attempts", "6"),
        ("x-fr-service", "mint-executor"),
        ("x-fr-version", "1.2.3"),
        ("x-fr-intent-id", &format!("0x{}", "ab".repeat(32))),
        ("x-fr-last-tx-hash", &format!("0x{}", "07".repeat(32))),
        ("x-fr-trace-id", "0af7651916cd43dd8448eb211c80319c"),
    ] {
        assert_eq!(header(&copy, name), value, "{name}");
    }
}

#[test]
fn a_forged_attempt_can_park_early_but_never_wait_for_ever() {
    let (_, kind) = copy(settled(&at(u32::MAX, 0), Disposition::retry("rpc", "")));
    assert_eq!(kind, CopyKind::Park("rpc"));
}

#[test]
fn a_permanent_failure_parks_at_once() {
    let (_, kind) = copy(settled(&at(1, 0), Disposition::park("bad", "never")));
    assert_eq!(kind, CopyKind::Park("bad"));
}

#[test]
fn foreign_bytes_are_parked_as_they_came() {
    let raw = raw(b"not json", 0);
    let (copy, _) = copy(step(
        &raw,
        DeliveryResult::park("malformed", "no envelope".into()),
    ));
    assert_eq!(
        (copy.payload.as_slice(), copy.message_id),
        (&b"not json"[..], None)
    );
    assert_eq!(header(&copy, "x-fr-class"), "malformed");
}

#[test]
fn an_orderly_return_is_counted_at_most_twice() {
    assert!(matches!(
        settled(&at(3, 0), Disposition::Return),
        BrokerAction::Requeue
    ));
    assert!(matches!(
        settled(&at(3, 1), Disposition::Return),
        BrokerAction::Requeue
    ));
    let (copy, kind) = copy(settled(&at(3, 2), Disposition::Return));
    assert_eq!(kind, CopyKind::Return);
    let sent: Value = serde_json::from_slice(&copy.payload).unwrap();
    assert_eq!(sent["attempt"], 3, "no attempt is burnt");
}

#[test]
fn a_deferred_message_uses_its_own_delay_queue() {
    for count in [0, 50] {
        let (waits, kind) = copy(settled(&at(3, count), Disposition::Defer));
        assert_eq!(
            (kind, waits.expiration),
            (CopyKind::Return, Some(Duration::from_secs(30)))
        );
        let sent: Value = serde_json::from_slice(&waits.payload).unwrap();
        assert_eq!(sent["attempt"], 3, "no attempt is burnt");
    }
}

#[test]
fn a_deferred_message_waits_half_its_age_in_the_queue_of_the_nearest_usual_delay() {
    // First seen before midnight, the wait in ms, the delay queue: usual delays are 751, 1502, 3004, 6008, 12016 ms.
    let table = [
        ("2026-01-01T00:00:00Z", 1000, 2),
        ("2025-12-31T23:59:58Z", 1000, 2),
        ("2025-12-31T23:59:54Z", 3000, 3),
        ("2025-12-31T23:59:53.992Z", 3004, 3),
        ("2025-12-31T23:59:53.990Z", 3005, 4),
        ("2025-12-31T23:59:40Z", 10_000, 5),
        ("2025-12-31T23:59:00Z", 30_000, 5),
        ("2025-12-31T23:00:00Z", 30_000, 5),
    ];
    for (first_seen, ms, queue) in table {
        let raw = raw(&serde_json::to_vec(&envelope(1, first_seen)).unwrap(), 0);
        let (waits, _) = copy(settled(&raw, Disposition::Defer));
        assert_eq!(waits.expiration, Some(Duration::from_millis(ms)), "{first_seen}");
        assert_eq!(
            waits.exchange,
            Route::Named(format!("fiatrails.retry.{queue}")),
            "{first_seen}"
        );
    }
}

#[test]
fn a_message_under_an_unknown_key_waits_a_day_without_using_attempts() {
    let fresh = at(1, 0);
    let (waits, kind) = copy(step(&fresh, DeliveryResult::AwaitKey("k9".into())));
    assert_eq!(
        (kind, waits.expiration),
        (CopyKind::Return, Some(Duration::from_secs(30)))
    );
    for (first_seen, expected) in [
        ("2025-12-31T00:00:00Z", CopyKind::Return),
        ("2025-12-30T23:59:59Z", CopyKind::Park("unknown_key")),
    ] {
        let old = raw(&serde_json::to_vec(&envelope(1, first_seen)).unwrap(), 0);
        let (_, kind) = copy(step(&old, DeliveryResult::AwaitKey("k9".into())));
        assert_eq!(kind, expected, "{first_seen}");
    }
    // A first-seen time in the future neither keeps it for ever nor is passed on.
    let future = raw(
        &serde_json::to_vec(&envelope(1, "2099-01-01T00:00:00Z")).unwrap(),
        0,
    );
    let (waits, _) = copy(step(&future, DeliveryResult::AwaitKey("k9".into())));
    assert_eq!(waits.expiration, Some(Duration::from_secs(1)));
    let sent: Value = serde_json::from_slice(&waits.payload).unwrap();
    assert!(sent["firstSeen"].as_str().unwrap().starts_with("2026-01-01"));
}

proptest! {
    #[test]
    fn no_delivery_panics_and_every_copy_is_well_formed(
        payload in proptest::collection::vec(any::<u8>(), 0..200), count in any::<i64>(), attempt in any::<u32>(),
    ) {
        let foreign = raw(&payload, count);
        let ours = at(attempt, count);
        for raw in [&foreign, &ours] {
            for result in [
                DeliveryResult::Settle(Disposition::Done), DeliveryResult::Settle(Disposition::Return), DeliveryResult::Crashed,
                DeliveryResult::Settle(Disposition::Defer),
                DeliveryResult::Settle(Disposition::retry("c", "t")), DeliveryResult::AwaitKey("k".into()),
            ] {
                if let BrokerAction::CopyThenAck(copy, kind) = step(raw, result) {
                    let delayed = copy.expiration.is_some();
                    prop_assert_eq!(delayed, !matches!(kind, CopyKind::Park(_)));
                    prop_assert!(copy.expiration.is_none_or(|w| w <= Duration::from_millis(37_500)));
                    let id: MessageId = ID.parse().unwrap();
                    prop_assert!(copy.message_id.is_none_or(|m| m == id || raw.envelope.is_none()));
                }
            }
        }
    }
}
