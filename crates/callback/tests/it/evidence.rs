//! Nothing but a report that verifies at that moment, from the stored bytes, leads to a mint.

use messaging::Disposition;

use crate::rig::{Rig, execute, paid_body, sign_as};

fn parked_as(disposition: &Disposition, class: &str) -> bool {
    matches!(disposition, Disposition::Park(failure) if failure.class == class)
}

#[tokio::test]
async fn a_tampered_report_is_parked_and_holds_its_tx_ref() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    let mut signed = rig.sign(&paid_body("T1", "R1", 150));
    signed.body = paid_body("T1", "R9", 150).into_bytes();
    assert!(parked_as(&rig.report(&signed).await, "report_tampered"));
    assert_eq!(rig.outcome_of(&signed), "tampered");
    rig.escrowed(&intent).await;
    rig.paid("T1", "R1", 150).await;
    assert!(rig.commands().await.is_empty());
    assert_eq!(rig.exceptions("T1"), ["report_tampered - -"]);
}

#[tokio::test]
async fn a_stored_report_changed_by_sql_mints_nothing() {
    for change in [
        "body = convert_to(replace(convert_from(body, 'UTF8'), 'R1', 'R9'), 'UTF8')",
        "signature_header = replace(signature_header, 'v1=', 'v1=0000')",
        "timestamp_header = '1'",
        "path = '/elsewhere'",
    ] {
        let rig = Rig::start().await;
        let intent = rig.accepted("T1", 150).await;
        rig.paid("T1", "R1", 150).await;
        rig.database
            .sql(&format!("update mpesa_reports set {change}"))
            .unwrap();
        rig.escrowed(&intent).await;
        assert!(rig.commands().await.is_empty(), "{change}");
        assert_eq!(rig.exceptions("T1"), ["report_tampered R1 -"], "{change}");
    }
}

#[tokio::test]
async fn a_payment_row_changed_by_sql_mints_nothing() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    let other = rig.accepted("T2", 150).await;
    rig.paid("T1", "R1", 150).await;
    // The payment of T1 is claimed for T2, and its confirmation forged.
    rig.database
        .sql(
            "update payments set tx_ref = 'T2'; \
             insert into decisions (tx_ref, payment_leg) values ('T2', 'confirmed')",
        )
        .unwrap();
    rig.escrowed(&other).await;
    rig.escrowed(&intent).await;
    assert!(rig.commands().await.is_empty());
    assert_eq!(rig.exceptions("T2"), ["report_tampered R1 -"]);
    assert_eq!(rig.exceptions("T1"), ["report_tampered - -"]);
}

#[tokio::test]
async fn an_intent_changed_by_sql_is_held() {
    for change in [
        "amount = amount * 2",
        "user_address = decode('15d34aaf54267db7d7c367839aaf71a00a2c6a65', 'hex')",
        "chain_id = 1",
    ] {
        for paid_first in [true, false] {
            let rig = Rig::start().await;
            let intent = rig.accepted("T1", 150).await;
            if paid_first {
                rig.paid("T1", "R1", 150).await;
            }
            rig.database
                .sql(&format!("update mint_intents set {change}"))
                .unwrap();
            rig.escrowed(&intent).await;
            if !paid_first {
                rig.paid("T1", "R1", 150).await;
            }
            assert!(rig.commands().await.is_empty(), "{change}");
            assert_eq!(rig.exceptions("T1"), ["intent_tampered - -"], "{change}");
        }
    }
}

#[tokio::test]
async fn a_row_replaced_by_another_genuine_intent_is_held() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.escrowed(&intent).await;
    rig.database.sql("delete from mint_intents").unwrap();
    rig.accepted("T1", 200).await;
    rig.paid("T1", "R1", 200).await;
    assert!(rig.commands().await.is_empty());
    assert_eq!(rig.exceptions("T1"), ["intent_tampered - -"]);
}

#[tokio::test]
async fn an_unknown_key_waits_without_using_an_attempt() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    rig.escrowed(&intent).await;
    let secret = "ab".repeat(32);
    let signed = sign_as("mk_new", &secret, &paid_body("T1", "R1", 150));
    rig.stored(&signed, false).await;
    assert_eq!(rig.report(&signed).await, Disposition::Defer);
    std::fs::write(rig.keys.dir("callback").join("mpesa/mk_new"), &secret).unwrap();
    assert!(rig.state.keys.reload().await.unwrap());
    assert_eq!(rig.report(&signed).await, Disposition::Done);
    assert_eq!(rig.commands().await, [execute("T1")]);
}

#[tokio::test]
async fn a_key_that_is_gone_when_the_deposit_comes_waits_in_the_rows() {
    let rig = Rig::start().await;
    let intent = rig.accepted("T1", 150).await;
    let secret = "ab".repeat(32);
    let file = rig.keys.dir("callback").join("mpesa/mk_new");
    std::fs::write(&file, &secret).unwrap();
    rig.state.keys.reload().await.unwrap();
    let signed = sign_as("mk_new", &secret, &paid_body("T1", "R1", 150));
    rig.stored(&signed, false).await;
    rig.report(&signed).await;
    std::fs::remove_file(&file).unwrap();
    rig.state.keys.reload().await.unwrap();
    rig.escrowed(&intent).await;
    assert!(rig.commands().await.is_empty() && rig.exceptions("T1").is_empty());

    std::fs::write(&file, &secret).unwrap();
    rig.state.keys.reload().await.unwrap();
    rig.age(10);
    callback::sweep::run_all(&rig.state).await.unwrap();
    assert_eq!(rig.commands().await, [execute("T1")]);
}

#[tokio::test]
async fn undecided_reports_of_a_compromised_key_are_held() {
    let rig = Rig::start().await;
    let compromise = "insert into api_keys (key_id, purpose, owner, state) values ('mk_dev_0001', 'mpesa', 'mpesa', \
                      'compromised')";
    let intent = rig.accepted("T1", 150).await;
    rig.paid("T1", "R1", 150).await;
    rig.database.sql(compromise).unwrap();
    rig.escrowed(&intent).await;
    assert_eq!(rig.exceptions("T1"), ["compromised_key R1 -"]);

    let intent = rig.accepted("T2", 150).await;
    rig.escrowed(&intent).await;
    rig.paid("T2", "R2", 150).await;
    assert_eq!(rig.exceptions("T2"), ["compromised_key R2 -"]);
    assert!(rig.commands().await.is_empty());

    // Revoking it took the secret away, too.
    let intent = rig.accepted("T4", 150).await;
    rig.accepted("T5", 150).await;
    let early = rig.sign(&paid_body("T5", "R5", 150));
    rig.database.sql("update api_keys set state = 'retired'").unwrap();
    rig.paid("T4", "R4", 150).await;
    rig.database
        .sql("update api_keys set state = 'compromised'")
        .unwrap();
    let file = rig
        .keys
        .dir("callback")
        .join("mpesa")
        .join(testkit::keys::MPESA_KID);
    let secret = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    rig.state.keys.reload().await.unwrap();
    rig.escrowed(&intent).await;
    assert_eq!(rig.exceptions("T4"), ["compromised_key R4 -"]);
    rig.stored(&early, false).await;
    assert_eq!(rig.report(&early).await, Disposition::Done);
    assert_eq!(rig.exceptions("T5"), ["compromised_key - -"]);
    assert_eq!(rig.outcome_of(&early), "compromised_key");
    assert!(rig.commands().await.is_empty());

    std::fs::write(&file, secret).unwrap();
    rig.state.keys.reload().await.unwrap();
    rig.database.sql("update api_keys set state = 'retired'").unwrap();
    let intent = rig.accepted("T3", 150).await;
    rig.escrowed(&intent).await;
    rig.paid("T3", "R3", 150).await;
    assert_eq!(
        rig.commands().await,
        [execute("T3")],
        "a retired key still verifies"
    );
}
