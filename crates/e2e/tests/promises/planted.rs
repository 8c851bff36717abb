//! The audit must find every violation: each is planted in the rows, the broker or the chain after a good run, found,
//! and removed again.

use anyhow::{Context, Result};
use e2e::ledger::{self, AuditFacts, ExpectedResult, Sent, SentIntent, SentPayment, ViolationKind, audit};
use serde_json::json;
use testkit::App;
use testkit::client::fresh_address;
use testkit::wiring::SERVICES;

use crate::TIMEOUT;

/// The planted violations, each with the SQL that plants and the SQL that removes it.
const PLANTED: [(ViolationKind, &str, &str); 12] = [
    (
        ViolationKind::PaymentLost,
        "create table kept as select * from payments; delete from payments",
        "insert into payments select * from kept; drop table kept",
    ),
    (
        ViolationKind::IntentLost,
        "create table kept as select * from mint_intents; delete from mint_intents",
        "insert into mint_intents select * from kept; drop table kept",
    ),
    (
        ViolationKind::ReportLost,
        "create table kept as select * from report_outcomes; delete from report_outcomes",
        "insert into report_outcomes select * from kept; drop table kept",
    ),
    (
        ViolationKind::LegDiffers,
        "update chain_legs set leg = 'refunded'",
        "update chain_legs set leg = 'executed'",
    ),
    (
        ViolationKind::OutcomeLost,
        "update decisions set chain_final = false",
        "update decisions set chain_final = true",
    ),
    (
        ViolationKind::MoneyMissing,
        "update payments set is_first = false",
        "update payments set is_first = true",
    ),
    (
        ViolationKind::LeftOver,
        "insert into callback_outbox (message_id, queue, subject, envelope)
           values ('018f0000-0000-7000-8000-00000000beef', 'mint.execute.v1', 'TX', '')",
        "delete from callback_outbox",
    ),
    (
        ViolationKind::NonceGap,
        "update signers set next_nonce = next_nonce + 1",
        "update signers set next_nonce = next_nonce - 1",
    ),
    (
        ViolationKind::SentUnstored,
        "create table kept as select id, tx_hash from attempts;
           update attempts set tx_hash = sha256(tx_hash) where id = (select min(id) from attempts)",
        "update attempts a set tx_hash = k.tx_hash from kept k where k.id = a.id; drop table kept",
    ),
    (
        ViolationKind::StaleLease,
        "update attempts set fencing_token = fencing_token + 1 where id = (select min(id) from attempts)",
        "update attempts set fencing_token = fencing_token - 1 where id = (select min(id) from attempts)",
    ),
    (
        ViolationKind::AttemptWasted,
        "update attempt_items set outcome = 'reverted' where position = 0",
        "update attempt_items set outcome = 'done' where position = 0",
    ),
    (
        ViolationKind::SecondNonce,
        "insert into attempts (signer, nonce, tx_hash, raw_transaction, command, state, fencing_token)
           select signer, nonce + 1000, sha256(raw_transaction), raw_transaction, command, 'superseded', fencing_token
           from attempts where id = (select min(id) from attempts);
         insert into attempt_items (attempt_id, position, message_id, intent_id)
           select (select max(id) from attempts), position, message_id, intent_id
           from attempt_items where attempt_id = (select min(id) from attempts)",
        "delete from attempt_items where attempt_id in (select id from attempts where nonce >= 1000);
         delete from attempts where nonce >= 1000",
    ),
];

/// `mint(address,uint256)` of the country token, which only the escrow may call.
fn mint_call(user: &str, units: u128) -> String {
    format!("0x40c10f19{:0>64}{units:064x}", user.trim_start_matches("0x"))
}

async fn findings(app: &App, sent: &Sent, before: u128) -> Result<Vec<ViolationKind>> {
    let mut facts = AuditFacts::gather(app, sent.clone(), before).await?;
    facts.only_outages = true;
    facts.one_nonce_per_command = true;
    let findings = audit(&facts).violations;
    Ok(findings.iter().map(|violation| violation.kind).collect())
}

/// One intent of five shillings, paid.
fn sent_and_paid(id: String, user: &str) -> Sent {
    let mut sent = Sent::default();
    let tx_ref = "PLANT-1".to_owned();
    sent.payments.insert(
        "RCPT0000070".into(),
        SentPayment {
            tx_ref: tx_ref.clone(),
            shillings: 5,
        },
    );
    let intent = SentIntent {
        tx_ref,
        user: user.to_owned(),
        shillings: 5,
        expected: ExpectedResult::Minted,
    };
    sent.intents.insert(id, intent);
    sent
}

/// A reorganisation removes the mint, and the rows still show it.
async fn take_the_mint_back(app: &App) -> Result<()> {
    let mined: u64 = app
        .database
        .sql("select max(block_number) from chain_legs")?
        .parse()?;
    let head = app.chain.rpc("eth_blockNumber", json!([])).await?;
    let head = u64::from_str_radix(
        head.as_str().context("a block number")?.trim_start_matches("0x"),
        16,
    )?;
    app.chain.rpc("anvil_rollback", json!([head - mined + 1])).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_check_finds_what_is_planted_in_rows_broker_and_chain() -> Result<()> {
    let mut app = App::start().await?;
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let before = ledger::minted(&app).await?;
    let id = app.create_intent(&user, 5, "PLANT-1").await?;
    app.report_payment("PLANT-1", 5, "RCPT0000070").await?;
    app.until_status(&id, "executed", TIMEOUT).await?;
    let sent = sent_and_paid(id, &user);
    testkit::eventually(TIMEOUT, "a good end without a violation", async || {
        Ok(findings(&app, &sent, before).await?.is_empty().then_some(()))
    })
    .await?;
    // The services are stopped, so that none repairs what is planted.
    for service in SERVICES {
        app.service(service)?.kill9()?;
    }

    for (kind, plant, undo) in PLANTED {
        app.database.sql(plant)?;
        let seen = findings(&app, &sent, before).await?;
        assert!(seen.contains(&kind), "{kind:?} is planted, {seen:?} is found");
        app.database.sql(undo)?;
    }
    assert_eq!(findings(&app, &sent, before).await?, []);

    let letter = json!({
        "properties": {}, "routing_key": "mint.submit.v1", "payload": "{}", "payload_encoding": "string",
    });
    let path = format!("exchanges/{}/fiatrails.dead/publish", app.vhost.name());
    app.vhost.management().post(&path, &letter).await?;
    testkit::eventually(TIMEOUT, "the dead letter without a reason", async || {
        Ok(findings(&app, &sent, before)
            .await?
            .contains(&ViolationKind::DeadLetter)
            .then_some(()))
    })
    .await?;

    let (escrow, token) = (&app.addresses.escrow, &app.addresses.country_token);
    app.chain.send_as(escrow, token, &mint_call(&user, 1)).await?;
    assert!(
        findings(&app, &sent, before)
            .await?
            .contains(&ViolationKind::UnknownMint)
    );

    take_the_mint_back(&app).await?;
    let seen = findings(&app, &sent, before).await?;
    assert!(seen.contains(&ViolationKind::LegDiffers), "{seen:?}");
    Ok(())
}
