//! Each M-Pesa report is stored once, whatever it contains.

use serde_json::json;

use crate::rig::{Rig, paid};

#[tokio::test(flavor = "multi_thread")]
async fn fifty_identical_callbacks_are_one_report() {
    let rig = Rig::new().await;
    let callback = rig.callback(&paid("TX1", 150, "R1"));
    let replies = futures_util::future::join_all((0..50).map(|_| rig.send(&callback))).await;
    assert!(
        replies
            .iter()
            .all(|reply| reply.status == 200 && reply.is_signed_for(&callback)),
        "{replies:?}"
    );
    let accepted = replies
        .iter()
        .filter(|reply| reply.text("status") == "accepted")
        .count();
    assert_eq!(accepted, 1);
    assert_eq!(rig.count("mpesa_reports"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_content_written_differently_is_the_same_report() {
    let rig = Rig::new().await;
    assert_eq!(
        rig.send(&rig.callback(&paid("TX1", 150, "R1")))
            .await
            .text("status"),
        "accepted"
    );
    let mut other = paid("TX1", 150, "R1");
    other["amount"] = json!("150.00");
    other["phone"] = json!("254700000000");
    let reply = rig.send(&rig.callback(&other)).await;
    assert_eq!(
        (reply.status, reply.text("status")),
        (200, "already_processed".into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicting_content_of_one_receipt_is_evidence_too() {
    let rig = Rig::new().await;
    for (tx_ref, amount) in [("TX1", 150), ("TX1", 151), ("TX2", 150)] {
        let reply = rig.send(&rig.callback(&paid(tx_ref, amount, "R1"))).await;
        assert_eq!((reply.status, reply.text("status")), (200, "accepted".into()));
    }
    assert_eq!(rig.count("mpesa_reports where receipt = 'R1'"), 3);
    let mut declined = paid("TX3", 150, "R1");
    declined["resultCode"] = json!(1032);
    assert_eq!(
        rig.send(&rig.callback(&declined)).await.text("status"),
        "accepted"
    );
    assert_eq!(rig.count("mpesa_reports where not paid"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_report_is_refused_but_stored() {
    let rig = Rig::new().await;
    let mut late = rig.callback(&paid("TX1", 150, "R1"));
    late.timestamp -= 400;
    for _ in 0..2 {
        assert_eq!(rig.send(&late).await.summary(), "401 timestamp-stale");
    }
    assert_eq!(rig.count("mpesa_reports where late"), 1);
    let fresh = rig.callback(&paid("TX1", 150, "R1"));
    assert_eq!(
        rig.send(&fresh).await.text("status"),
        "accepted",
        "the late one is not in its way"
    );
    let mut replayed = rig.callback(&paid("TX2", 150, "R2"));
    assert_eq!(rig.send(&replayed).await.text("status"), "accepted");
    replayed.timestamp -= 400;
    assert_eq!(rig.send(&replayed).await.summary(), "401 timestamp-stale");
    assert_eq!(
        rig.count("mpesa_reports"),
        3,
        "what came in time is not kept again as late"
    );
    let mut forged = late.clone();
    forged.body = paid("TX9", 150, "R9").to_string().into_bytes();
    assert_eq!(
        rig.send_signed(&forged, &late.signature()).await.summary(),
        "401 timestamp-stale"
    );
    assert_eq!(rig.count("mpesa_reports where tx_ref = 'TX9'"), 0);
    assert!(rig.metrics().await.contains("fiatrails_late_reports_total 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_well_formed_is_not_stored() {
    let rig = Rig::new().await;
    let mut number = paid("TX1", 150, "R1");
    number["amount"] = json!(150);
    let mut without_receipt = paid("TX1", 150, "R1");
    without_receipt.as_object_mut().unwrap().remove("receipt");
    for bad in [number, without_receipt, json!({}), json!([])] {
        assert_eq!(
            rig.send(&rig.callback(&bad)).await.summary(),
            "400 validation-failed",
            "{bad}"
        );
    }
    let mut garbage = rig.callback(&json!({}));
    garbage.body = b"not json".to_vec();
    assert_eq!(rig.send(&garbage).await.summary(), "400 invalid-json");
    assert_eq!(rig.count("mpesa_reports"), 0);
    assert!(
        rig.metrics()
            .await
            .contains(r#"fiatrails_callbacks_total{source="mpesa",status="invalid-json"} 1"#)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_stored_in_time_is_503() {
    let rig = Rig::with(&[("FIATRAILS_POLICY_WINDOWS_WEBHOOK_TIMEOUT_MS", "700")]).await;
    let pool = rig.pool();
    let mut client = pool.get().await.unwrap();
    let tx = client.begin().await.unwrap();
    tx.execute("lock table mpesa_reports in exclusive mode", &[])
        .await
        .unwrap();
    let callback = rig.callback(&paid("TX1", 150, "R1"));
    let started = tokio::time::Instant::now();
    let reply = rig.send(&callback).await;
    assert_eq!(reply.summary(), "503 unavailable");
    assert!(started.elapsed().as_millis() < 1500);
    let mut late = callback.clone();
    late.timestamp -= 400;
    assert_eq!(
        rig.send(&late).await.summary(),
        "503 unavailable",
        "a late one is refused only when it is kept"
    );
    tx.rollback().await.unwrap();
    testkit::eventually(crate::rig::SOON, "it is accepted after all", async || {
        Ok((rig.send(&callback).await.status == 200).then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(rig.count("mpesa_reports where not late"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_media_type_is_checked_after_the_signature() {
    let rig = Rig::new().await;
    let mut text = rig.callback(&paid("TX1", 150, "R1"));
    text.content_type = Some("text/plain".into());
    let refused = rig.send(&text).await;
    assert_eq!(refused.summary(), "415 unsupported-media-type");
    assert!(refused.is_signed_for(&text));
    text.secret = "ab".repeat(32);
    assert_eq!(rig.send(&text).await.summary(), "401 signature-invalid");
    assert_eq!(rig.count("mpesa_reports"), 0);
}
