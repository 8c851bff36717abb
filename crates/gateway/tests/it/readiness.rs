//! The health endpoints report whether new work can be done, and never anything that makes a balancer restart us.

use testkit::{ChaosProxy, eventually};

use crate::rig::{Rig, SOON, paid};

async fn status(rig: &Rig, path: &str) -> u16 {
    let url = format!("{}{path}", rig.base);
    rig.http.get(url).send().await.unwrap().status().as_u16()
}

async fn until(rig: &Rig, path: &str, expected: u16) {
    eventually(SOON, &format!("{path} is {expected}"), async || {
        Ok((status(rig, path).await == expected).then_some(()))
    })
    .await
    .unwrap();
}

async fn health(rig: &Rig) -> serde_json::Value {
    let url = format!("{}/health", rig.base);
    rig.http.get(url).send().await.unwrap().json().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_broker_it_is_ready_because_its_outbox_stores_messages() {
    let mut rig = Rig::new().await;
    rig.end().await;
    let proxy = ChaosProxy::before(&rig.vhost.url()).await.unwrap();
    proxy.cut();
    let through = proxy.through(&rig.vhost.url()).unwrap();
    rig.set("AMQP_URL", &through);
    rig.start().await;

    assert_eq!(rig.send(&rig.intent("TX-DARK")).await.status, 201);
    let report = rig.callback(&paid("TX-DARK", 150, "RCPTDARK01"));
    assert_eq!(rig.send(&report).await.status, 200);
    assert_eq!(rig.count("gateway_outbox"), 2);
    let health_report = health(&rig).await;
    assert_eq!(
        (
            &health_report["status"],
            &health_report["broker"],
            &health_report["database"]
        ),
        (&"degraded".into(), &"unavailable".into(), &"ok".into())
    );
    until(&rig, "/readyz", 200).await;

    proxy.resume();
    eventually(SOON, "the outbox is sent", async || {
        Ok((rig.count("gateway_outbox") == 0).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_database_it_is_live_but_not_ready() {
    let mut rig = Rig::new().await;
    rig.end().await;
    let login = rig.database.login("gateway").unwrap();
    let proxy = ChaosProxy::before(&login).await.unwrap();
    rig.set("DATABASE_URL", &proxy.through(&login).unwrap());
    rig.start().await;

    proxy.cut();
    until(&rig, "/readyz", 503).await;
    assert_eq!(status(&rig, "/livez").await, 200);
    assert_eq!(
        rig.send(&rig.intent("TX-DOWN")).await.summary(),
        "503 unavailable"
    );
    proxy.resume();
    until(&rig, "/readyz", 200).await;
    assert_eq!(rig.send(&rig.intent("TX-DOWN")).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_draining_it_is_not_ready_but_still_serves_requests() {
    let mut rig = Rig::new().await;
    let before = rig.send(&rig.intent("TX-STAY")).await;
    assert_eq!((before.status, before.header("Connection")), (201, None));
    rig.stop.drain();
    until(&rig, "/readyz", 503).await;
    assert_eq!(status(&rig, "/livez").await, 200);
    let late = rig.send(&rig.intent("TX-LATE")).await;
    assert_eq!((late.status, late.header("Connection")), (201, Some("close")));
    rig.end().await;
    assert!(rig.http.get(format!("{}/livez", rig.base)).send().await.is_err());
}
