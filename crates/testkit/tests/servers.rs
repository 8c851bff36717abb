//! The private servers start, serve, die and come back; nothing of them stays.

use std::time::{Duration, Instant};

use serde_json::json;
use testkit::{Anvil, Broker, Database, PostgresServer, Servers, Vhost, anvil, eventually};

#[tokio::test]
async fn a_private_postgres_survives_a_kill_with_its_rows() {
    let mut server = PostgresServer::start().await.unwrap();
    let database = Database::create_empty(&server.url()).await.unwrap();
    database
        .sql("create table kept (n int); insert into kept values (7)")
        .unwrap();
    server.kill9().unwrap();
    assert!(database.sql("select 1").is_err());
    server.restart().await.unwrap();
    assert_eq!(database.sql("select n from kept").unwrap(), "7");
}

#[tokio::test]
async fn a_private_broker_survives_a_kill_with_its_virtual_hosts() {
    let mut broker = Broker::start().await.unwrap();
    let mut vhost = Vhost::create(&broker.url(), &broker.management_url())
        .await
        .unwrap();
    let user = vhost.user("gateway", "", "fiatrails.work", "").await.unwrap();
    assert!(user.contains("gateway-t-"), "{user}");
    broker.kill9().unwrap();
    assert!(vhost.management().get("overview").await.is_err());
    broker.restart().await.unwrap();
    vhost
        .management()
        .get(&format!("vhosts/{}", vhost.name()))
        .await
        .unwrap();
}

#[tokio::test]
async fn databases_of_the_shared_server_are_migrated_and_do_not_see_each_other() {
    let servers = Servers::shared().unwrap();
    let (one, two) = (
        servers.database().await.unwrap(),
        servers.database().await.unwrap(),
    );
    one.sql("create table only_here ()").unwrap();
    assert!(two.sql("select from only_here").is_err());
    let name = one.name().to_owned();
    drop(one);
    let left = two
        .sql(&format!(
            "select count(*) from pg_database where datname = '{name}'"
        ))
        .unwrap();
    assert_eq!(left, "0");
}

#[tokio::test]
async fn virtual_hosts_of_the_shared_broker_go_with_their_owner() {
    let servers = Servers::shared().unwrap();
    let one = servers.vhost().await.unwrap();
    let two = servers.vhost().await.unwrap();
    let path = format!("vhosts/{}", one.name());
    two.management().get(&path).await.unwrap();
    drop(one);
    eventually(Duration::from_secs(10), "the virtual host is gone", async || {
        Ok(two.management().get(&path).await.err())
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn an_anvil_mines_only_when_told() {
    let options = anvil::Options {
        mining: anvil::Mining::Manual,
        ..anvil::Options::default()
    };
    let node = Anvil::start_with(options).await.unwrap();
    assert_eq!(node.rpc("eth_chainId", json!([])).await.unwrap(), json!("0x7ac6"));
    node.mine(3).await.unwrap();
    assert_eq!(
        node.rpc("eth_blockNumber", json!([])).await.unwrap(),
        json!("0x3")
    );
}

#[tokio::test]
async fn an_anvil_with_kept_state_continues_its_chain() {
    let dir = tempfile::tempdir().unwrap();
    let options = anvil::Options {
        keep_state: Some(dir.path().join("state.json")),
        ..anvil::Options::default()
    };
    let mut node = Anvil::start_with(options).await.unwrap();
    node.mine(5).await.unwrap();
    node.stop().unwrap();
    let started = Instant::now();
    node.restart().await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(10));
    assert_eq!(
        node.rpc("eth_blockNumber", json!([])).await.unwrap(),
        json!("0x5")
    );
}

#[tokio::test]
async fn a_service_login_has_only_that_services_rights() {
    let database = Servers::shared().unwrap().database().await.unwrap();
    let allowed = [
        ("gateway", "select count(*) from mint_intents"),
        ("callback", "select halt_executes('drill')"),
        ("ops", "update api_keys set state = 'revoked'"),
        ("ops", "update halts set halted = false"),
    ];
    for (who, sql) in allowed {
        testkit::postgres::psql(&database.login(who).unwrap(), sql).unwrap();
    }
    let refused = [
        ("gateway", "delete from mint_intents"),
        ("gateway", "update mint_intents set amount = 1"),
        ("gateway", "insert into decisions (tx_ref) values ('T')"),
        ("gateway", "select halt_executes('no')"),
        ("callback", "update halts set halted = false"),
        (
            "callback",
            "insert into halts (scope, halted, reason, changed_by) values ('intake', true, 'r', 'me')",
        ),
        (
            "callback",
            "insert into audit_log (actor, action, target, reason) values ('alice', 'a', 't', 'w')",
        ),
        ("callback", "update payments set receipt = 'R'"),
        ("callback", "delete from payments"),
        ("callback", "update exceptions set is_hold = false"),
        ("callback", "update mpesa_reports set body = ''"),
        ("callback", "update chain_legs set leg = 'escrowed'"),
        ("executor", "update decisions set payment_leg = 'confirmed'"),
        ("executor", "insert into payments (receipt) values ('R')"),
        ("executor", "select halt_executes('no')"),
        ("ops", "update tx_ref_prefixes set owner = 'me'"),
        ("ops", "delete from tx_ref_prefixes"),
        ("ops", "update api_keys set owner = 'me'"),
        ("ops", "update api_keys set not_after = null"),
        ("ops", "update audit_log set actor = 'bob'"),
        ("ops", "delete from audit_log"),
        ("ops", "update exceptions set is_hold = false"),
        ("ops", "update decisions set payment_leg = 'confirmed'"),
    ];
    for (who, sql) in refused {
        let error = testkit::postgres::psql(&database.login(who).unwrap(), sql).unwrap_err();
        assert!(
            format!("{error:#}").contains("permission denied"),
            "{who}: {sql}: {error:#}"
        );
    }
}

#[tokio::test]
async fn a_deployed_chain_starts_from_the_snapshot() {
    let started = Instant::now();
    let (node, addresses) = Anvil::deployed(anvil::Mining::Every(1.0)).await.unwrap();
    let code = node
        .rpc("eth_getCode", json!([addresses.escrow, "latest"]))
        .await
        .unwrap();
    assert!(code.as_str().unwrap().len() > 10);
    let before = node.rpc("eth_getCode", json!([addresses.escrow, "0x0"])).await;
    assert_eq!(before.unwrap(), "0x", "it has the states of its past");
    assert!(started.elapsed() < Duration::from_secs(5));
}
