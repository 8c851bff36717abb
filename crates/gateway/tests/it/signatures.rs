//! A captured request is of no use for anything else.

use gateway::error::Code;

use crate::rig::{Message, Rig, paid};

/// The secret of the documented known answers.
const KNOWN_SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const KNOWN_TIME: i64 = 1_767_225_600;
/// The documented timestamps are long ago.
const OLD_IS_FRESH: [(&str, &str); 2] = [
    ("FIATRAILS_POLICY_WINDOWS_FRESHNESS_SECONDS", "3000000000"),
    ("FIATRAILS_POLICY_WINDOWS_IDEMPOTENCY_SECONDS", "3000000000"),
];

async fn known() -> Rig {
    let mut rig = Rig::with(&OLD_IS_FRESH).await;
    for file in ["integrator/dev/ik_test_0001", "mpesa/mk_test_0001"] {
        std::fs::write(rig.keys.dir("gateway").join(file), KNOWN_SECRET).unwrap();
    }
    rig.end().await;
    rig.start().await;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documented_requests_pass_as_they_are_written() {
    let rig = known().await;
    let mut request = rig
        .intent("TX0000000001")
        .with_key("8e03978e-40d5-43e8-bc93-6894a57f9324");
    request.body = br#"{"user":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8","amount":"150000000000000000000","countryCode":"KES","txRef":"TX0000000001"}"#.to_vec();
    request.timestamp = KNOWN_TIME;
    request.kid = "ik_test_0001".into();
    request.secret = KNOWN_SECRET.into();
    let signature = "kid=ik_test_0001,v1=61508ad17ce6e1c7dd90e8177f72676f71d749cc9d7bd51c22ac3c431db6e66c";
    let reply = rig.send_signed(&request, signature).await;
    assert_eq!(reply.status, 201, "{reply:?}");
    assert_eq!(
        reply.text("intentId"),
        "0xea77772f8ee613a38310be6efdfaabab62ccddfd822ba2739a82686d36d776cb"
    );
    assert!(reply.is_signed_for(&request));

    let mut callback = rig.callback(&paid("TX0000000001", 150, "NLJ7RT61SV"));
    callback.body = br#"{"txRef":"TX0000000001","amount":"150","phone":"254708374149","timestamp":1767225600,"receipt":"NLJ7RT61SV","resultCode":0}"#.to_vec();
    callback.timestamp = KNOWN_TIME;
    let signature = "kid=mk_test_0001,v1=a650c67e5bead0d44ffab8938b089b805960553c6195894436fae49c49aace61";
    assert_eq!(rig.send_signed(&callback, signature).await.status, 200);

    let mut read = rig.read(&format!("0x{}", "ab".repeat(32)));
    read.path = format!("/api/v1{}", read.path);
    read.timestamp = KNOWN_TIME;
    let signature = "kid=ik_test_0001,v1=3b1927a99d02313f465040b2fe98249093a45143a214a517e71ffec129b17b40";
    assert_eq!(rig.send_signed(&read, signature).await.summary(), "404 not-found");
}

/// The message with one signed part changed, each.
fn changed(base: &Message) -> Vec<(&'static str, Message)> {
    vec![
        (
            "body",
            Message {
                body: base
                    .body
                    .iter()
                    .map(|b| if *b == b'1' { b'2' } else { *b })
                    .collect(),
                ..base.clone()
            },
        ),
        (
            "white space",
            Message {
                body: [base.body.as_slice(), b" "].concat(),
                ..base.clone()
            },
        ),
        (
            "path",
            Message {
                path: "/api/v1/mint-intents".into(),
                ..base.clone()
            },
        ),
        (
            "query",
            Message {
                query: "x=1".into(),
                ..base.clone()
            },
        ),
        (
            "timestamp",
            Message {
                timestamp: base.timestamp + 1,
                ..base.clone()
            },
        ),
        (
            "idempotency key",
            base.clone().with_key("another-key-another-key"),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_signed_part_is_protected() {
    let rig = Rig::new().await;
    let base = rig.intent("TX1");
    let signature = base.signature();
    for (what, message) in changed(&base) {
        let reply = rig.send_signed(&message, &signature).await;
        assert_eq!(reply.summary(), "401 signature-invalid", "{what}");
        assert_eq!(reply.header("X-Response-Signature"), None);
    }
    for forged in [
        signature.replace("ik_dev_0001", "ik_acme_0001"),
        signature.replace("ik_dev_0001", "ik_none_0001"),
        rig.intent("TX1")
            .by_other(&rig)
            .signature()
            .replace("ik_acme_0001", "ik_dev_0001"),
    ] {
        assert_eq!(
            rig.send_signed(&base, &forged).await.summary(),
            "401 signature-invalid",
            "{forged}"
        );
    }
    assert_eq!((rig.count("mint_intents"), rig.count("idempotency_keys")), (0, 0));
    assert_eq!(rig.send_signed(&base, &signature).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callbacks_signature_is_no_requests_signature() {
    let rig = Rig::new().await;
    let callback = rig.callback(&paid("TX1", 150, "R1"));
    let mut as_request = callback.clone();
    as_request.mpesa = false;
    as_request.path = "/mint-intents".into();
    assert_eq!(
        rig.send_signed(&as_request, &callback.signature()).await.status,
        400,
        "no idempotency key"
    );
    as_request.key = Some("0123456789abcdef".into());
    let reply = rig.send_signed(&as_request, &callback.signature()).await;
    assert_eq!(reply.summary(), "401 signature-invalid");

    // An integrator's key is worth nothing at the callback route, and M-Pesa's nothing elsewhere.
    let mut by_integrator = callback.clone();
    by_integrator.kid = rig.intent("TX1").kid;
    by_integrator.secret = rig.intent("TX1").secret;
    assert_eq!(rig.send(&by_integrator).await.summary(), "401 signature-invalid");
    let mut by_mpesa = rig.intent("TX1");
    by_mpesa.kid = callback.kid;
    by_mpesa.secret = callback.secret;
    assert_eq!(rig.send(&by_mpesa).await.summary(), "401 signature-invalid");
    assert_eq!((rig.count("mpesa_reports"), rig.count("mint_intents")), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn key_rows_restrict_keys_and_a_removed_secret_removes_its_key() {
    let mut rig = Rig::new().await;
    assert_eq!(rig.send(&rig.intent("TX1")).await.status, 201);
    rig.sql("insert into api_keys (key_id, purpose, owner, state) values ('ik_dev_0001', 'integrator', 'dev', 'revoked')");
    let refused = async |tx_ref: &str| {
        testkit::eventually(crate::rig::SOON, "the key is refused", async || {
            let summary = rig.send(&rig.intent(tx_ref)).await.summary();
            Ok((summary == "401 signature-invalid").then_some(()))
        })
        .await
        .unwrap();
    };
    refused("TX2").await;
    rig.sql("update api_keys set state = 'active', not_after = now() - interval '1 second'");
    refused("TX3").await;
    rig.sql("delete from api_keys");
    let id = format!("0x{}", "ab".repeat(32));
    testkit::eventually(crate::rig::SOON, "the key is live again", async || {
        Ok((rig.send(&rig.read(&id)).await.status == 404).then_some(()))
    })
    .await
    .unwrap();
    std::fs::remove_file(rig.keys.dir("gateway").join("integrator/dev/ik_dev_0001")).unwrap();
    refused("TX4").await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_use_of_a_key_is_written_down() {
    let rig = Rig::new().await;
    assert_eq!(rig.send(&rig.intent("TX1")).await.status, 201);
    testkit::eventually(
        std::time::Duration::from_secs(30),
        "the use is recorded",
        async || {
            // Beside it, the key that protects the stored answer.
            let used = rig.sql("select count(*) from api_key_usage where key_id = 'ik_dev_0001'");
            Ok((used == "1").then_some(()))
        },
    )
    .await
    .unwrap();
}

/// Codes are promised; a new one must be documented here on purpose.
#[test]
fn the_signature_codes_are_one_for_every_cause() {
    assert_eq!(Code::SignatureInvalid.properties().status, 401);
}
