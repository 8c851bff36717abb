//! Each documented code is reachable, with its status and the documented form.

use std::collections::BTreeSet;

use gateway::error::Code;
use serde_json::json;

use crate::rig::{Reply, Rig, USER, paid};

fn check_form(reply: &Reply) {
    let body = reply.json();
    assert_eq!(
        reply.header("Content-Type"),
        Some("application/problem+json"),
        "{body}"
    );
    assert_eq!(body["status"], reply.status, "{body}");
    assert_eq!(
        body["type"],
        format!("urn:fiatrails:problem:{}", reply.text("code"))
    );
    assert_eq!(
        Some(reply.text("requestId").as_str()),
        reply.header("X-Request-Id")
    );
    assert!(body["retryable"].is_boolean() && body["errors"].is_array() && body["title"].is_string());
    assert!(!body["detail"].as_str().unwrap().is_empty());
    if matches!(reply.status, 429 | 503) {
        assert!(reply.header("Retry-After").is_some(), "{body}");
    }
    let facts = Code::ALL
        .into_iter()
        .find(|c| c.name() == body["code"])
        .unwrap()
        .properties();
    assert_eq!(facts.status, reply.status, "{body}");
}

/// Checks each reply and remembers its code.
#[derive(Default)]
struct SeenCodes(BTreeSet<String>);

impl SeenCodes {
    fn check(&mut self, reply: &Reply, expected: &str) {
        assert_eq!(
            reply.summary(),
            expected,
            "{:?}",
            String::from_utf8_lossy(&reply.body)
        );
        check_form(reply);
        self.0.insert(reply.text("code"));
    }

    /// Signatures and times that are absent, malformed or sent twice.
    async fn check_headers(&mut self, rig: &Rig) {
        let intent = rig.intent("TX1");
        self.check(&rig.send_signed(&intent, "").await, "401 signature-missing");
        let malformed = rig.send_signed(&intent, "kid=a,v1=zz").await;
        self.check(&malformed, "401 signature-malformed");
        let mut twice = rig.intent("TX1");
        twice
            .headers
            .push(("X-Request-Signature".into(), twice.signature()));
        self.check(&rig.send(&twice).await, "401 signature-malformed");
        let mut timed_twice = rig.intent("TX1");
        timed_twice
            .headers
            .push(("X-Request-Timestamp".into(), timed_twice.timestamp.to_string()));
        self.check(&rig.send(&timed_twice).await, "401 timestamp-invalid");
    }

    /// Requests that no route takes.
    async fn check_form_of_requests(&mut self, rig: &Rig) {
        let mut nowhere = rig.intent("TX1");
        nowhere.path = "/nowhere".into();
        self.check(&rig.send(&nowhere).await, "404 not-found");
        let mut put = rig.intent("TX1");
        put.method = "PUT".into();
        let reply = rig.send(&put).await;
        assert_eq!(reply.header("Allow"), Some("POST"));
        self.check(&reply, "405 method-not-allowed");
        let mut large = rig.intent("TX1");
        large.body = vec![b' '; 16 * 1024 + 1];
        self.check(&rig.send(&large).await, "413 body-too-large");
        let mut text = rig.intent("TX1");
        text.content_type = Some("text/plain".into());
        self.check(&rig.send(&text).await, "415 unsupported-media-type");
        text.content_type = None;
        self.check(&rig.send(&text).await, "415 unsupported-media-type");
    }

    /// Bodies that say what we do not take.
    async fn check_fields(&mut self, rig: &Rig) {
        let mut garbage = rig.intent("TX1");
        garbage.body = b"{not json".to_vec();
        self.check(&rig.send(&garbage).await, "400 invalid-json");
        for (field, value, expected) in [
            ("extra", json!(1), "400 validation-failed"),
            ("amount", json!("999999999999999999"), "422 amount-below-minimum"),
            ("amount", json!("0"), "422 amount-below-minimum"),
            (
                "amount",
                json!("1000000000000000000001"),
                "422 amount-above-maximum",
            ),
            ("amount", json!("1500000000000000000"), "422 amount-not-whole"),
            ("countryCode", json!("TZS"), "422 country-not-supported"),
        ] {
            let message = rig.intent("TX1").field(field, value);
            self.check(&rig.send(&message).await, expected);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn codes_of_a_running_gateway() {
    let rig = Rig::new().await;
    let mut seen = SeenCodes::default();
    seen.check_headers(&rig).await;
    seen.check_form_of_requests(&rig).await;
    seen.check_fields(&rig).await;
    assert_eq!(rig.count("mint_intents"), 0);
    let expected: BTreeSet<String> = [
        "amount-above-maximum",
        "amount-below-minimum",
        "amount-not-whole",
        "body-too-large",
        "country-not-supported",
        "invalid-json",
        "method-not-allowed",
        "not-found",
        "signature-malformed",
        "signature-missing",
        "timestamp-invalid",
        "unsupported-media-type",
        "validation-failed",
    ]
    .map(str::to_owned)
    .into();
    assert_eq!(seen.0, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn policy_refusals_are_stored_like_successes() {
    let rig = Rig::new().await;
    let message = rig.intent("TX1").field("amount", json!("1500000000000000000"));
    let (first, again) = (rig.send(&message).await, rig.send(&message).await);
    assert_eq!((first.status, again.status), (422, 422));
    assert_eq!(first.body, again.body);
    assert_eq!(again.header("Idempotent-Replayed"), Some("true"));
    assert_eq!(again.header("Content-Type"), Some("application/problem+json"));
    assert_eq!(rig.count("idempotency_keys"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn request_ids_are_echoed_or_minted() {
    let rig = Rig::new().await;
    let mut message = rig.intent("TX1");
    message.headers.push(("X-Request-Id".into(), "req_0001".into()));
    assert_eq!(rig.send(&message).await.header("X-Request-Id"), Some("req_0001"));
    let mut odd = rig.intent("TX2");
    odd.headers.push(("X-Request-Id".into(), "<script>".into()));
    let reply = rig.send(&odd).await;
    assert!(reply.header("X-Request-Id").unwrap().starts_with("req_"));
    assert!(reply.is_signed_for(&odd));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_user_has_a_daily_limit_even_at_once() {
    let rig = Rig::new().await;
    // 12 x 1000 KES against a limit of 10,000.
    let messages: Vec<_> = (0..12)
        .map(|n| {
            rig.intent(&format!("TX{n}"))
                .field("amount", json!("1000000000000000000000"))
        })
        .collect();
    let replies = futures_util::future::join_all(messages.iter().map(|message| rig.send(message))).await;
    let accepted = replies.iter().filter(|reply| reply.status == 201).count();
    let refused: Vec<_> = replies.iter().filter(|reply| reply.status != 201).collect();
    assert_eq!((accepted, refused.len()), (10, 2));
    for reply in refused {
        assert_eq!(reply.summary(), "422 daily-limit-exceeded");
        check_form(reply);
    }
    assert_eq!(
        rig.sql("select total from user_daily_totals"),
        "10000000000000000000000"
    );
    assert_eq!(rig.count("mint_intents"), 10);
    let other = "0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC";
    assert_ne!(other, USER);
    assert_eq!(
        rig.send(&rig.intent("TX77").field("user", json!(other)))
            .await
            .status,
        201
    );
    let again: Vec<_> =
        futures_util::future::join_all(messages.iter().map(|message| rig.send(message))).await;
    for (first, again) in replies.iter().zip(&again) {
        assert_eq!(first.body, again.body);
    }
    let mut taken = rig.intent("TX0");
    let first = replies.iter().position(|reply| reply.status == 201).unwrap();
    taken = taken.field("txRef", json!(format!("TX{first}")));
    assert_eq!(
        rig.send(&taken).await.summary(),
        "409 tx-ref-exists",
        "that a txRef exists is reported first"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_unpaid_intents_are_refused_until_paid() {
    let rig = Rig::with(&[("FIATRAILS_POLICY_MINT_MAX_UNPAID", "2")]).await;
    assert_eq!(rig.send(&rig.intent("TX1")).await.status, 201);
    let second = rig.intent("TX2");
    assert_eq!(rig.send(&second).await.status, 201);
    let third = rig.intent("TX3");
    let reply = rig.send(&third).await;
    assert_eq!(reply.summary(), "429 too-many-unpaid");
    check_form(&reply);
    assert_eq!(
        rig.send(&second).await.status,
        201,
        "a replay is no further intent"
    );
    assert_eq!(rig.send(&rig.intent("ACME1").by_other(&rig)).await.status, 201);
    assert_eq!(rig.send(&rig.callback(&paid("TX1", 150, "R1"))).await.status, 200);
    testkit::eventually(crate::rig::SOON, "the limit allows intents again", async || {
        Ok((rig.send(&third).await.status == 201).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_has_a_rate_limit_but_callbacks_have_none() {
    let rig = Rig::with(&[("RATE_LIMIT_PER_SECOND", "1"), ("RATE_LIMIT_BURST", "2")]).await;
    let mut limited = None;
    for n in 0..4 {
        let reply = rig.send(&rig.intent(&format!("TX{n}"))).await;
        if reply.status == 429 {
            limited = Some(reply);
        }
    }
    let limited = limited.expect("four requests at once pass a limit of two");
    assert_eq!(limited.summary(), "429 rate-limited");
    check_form(&limited);
    for n in 0..20 {
        let callback = rig.callback(&paid(&format!("TX{n}"), 150, &format!("R{n}")));
        assert_eq!(rig.send(&callback).await.status, 200);
    }
    assert_eq!(
        rig.send(&rig.intent("ACME1").by_other(&rig)).await.status,
        201,
        "each key has its own"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halted_intake_is_unavailable_and_callbacks_go_on() {
    let rig = Rig::new().await;
    let message = rig.intent("TX1");
    let before = rig.intent("TX0");
    let accepted = rig.send(&before).await;
    assert_eq!(accepted.status, 201);
    rig.sql("insert into halts (scope, halted, reason, changed_by) values ('intake', false, 'drill', 'me')");
    rig.sql("update halts set halted = true");
    let reply = testkit::eventually(crate::rig::SOON, "the halt is seen", async || {
        let reply = rig.send(&rig.intent(&testkit::client::fresh_tx_ref("T")?)).await;
        Ok((reply.status != 201).then_some(reply))
    })
    .await
    .unwrap();
    assert_eq!(reply.summary(), "503 unavailable");
    check_form(&reply);
    assert_eq!(rig.send(&rig.callback(&paid("TX1", 150, "R1"))).await.status, 200);
    let again = rig.send(&before).await;
    assert_eq!(
        (again.status, &again.body),
        (201, &accepted.body),
        "a stored answer is still given"
    );
    rig.sql("update halts set halted = false");
    testkit::eventually(crate::rig::SOON, "intake goes on", async || {
        Ok((rig.send(&message).await.status == 201).then_some(()))
    })
    .await
    .unwrap();
}
