//! The shared modules over a real database: every statement prepares; inbox, outbox, halts and errors work as promised.
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::time::Duration;

use domain::clock::{IdSource, SystemSource};
use storage::halts::{self, HaltScope};
use storage::outbox::OutboxRow;
use storage::{ConflictKind, Inbox, Outbox, Pool, PoolConfig, StorageError};
use testkit::{Database, Servers};

async fn database() -> (Database, Pool) {
    let database = Servers::shared().unwrap().database().await.unwrap();
    let pool = Pool::new(&PoolConfig::new(database.url().into(), "test")).unwrap();
    (database, pool)
}

fn row(subject: &str) -> OutboxRow {
    OutboxRow {
        message_id: SystemSource.message_id(),
        queue: "mint.submit.v1",
        subject: subject.into(),
        envelope: b"{}".to_vec(),
    }
}

#[tokio::test]
async fn every_statement_prepares_on_a_migrated_database() {
    let (_database, pool) = database().await;
    let client = pool.get().await.unwrap();
    let statements = storage::statements();
    assert!(statements.len() > 20);
    let mut failures = Vec::new();
    for (name, sql) in statements {
        if let Err(error) = client.prepare(sql).await {
            let text = error
                .as_db_error()
                .map_or_else(|| error.to_string(), ToString::to_string);
            failures.push(format!("{name}: {text}"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The test above misses a module that declares statements but is not listed.
#[test]
fn every_module_with_statements_is_listed() {
    fn walk(dir: &std::path::Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if std::fs::read_to_string(&path)
                .unwrap()
                .contains("\nstatements! {")
            {
                let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
                let module = path.strip_prefix(source).unwrap().with_extension("");
                found.push(format!(
                    "storage::{}",
                    module.display().to_string().replace('/', "::")
                ));
            }
        }
    }
    let mut declared = Vec::new();
    walk(
        &std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut declared,
    );
    let names = storage::statements();
    let listed = |module: &String| {
        let module = module.trim_end_matches("::mod");
        names
            .iter()
            .any(|(name, _)| name.rsplit_once("::").is_some_and(|(m, _)| m == module))
    };
    declared.retain(|module| !listed(module));
    assert!(
        declared.is_empty(),
        "add to storage/src/statements.rs: {declared:?}"
    );
}

#[tokio::test]
async fn the_embedded_migrations_build_the_schema_once_and_concurrently() {
    let database = Database::create_empty(&Servers::shared().unwrap().pg_url)
        .await
        .unwrap();
    let config = PoolConfig::new(database.url().into(), "test");
    let all = storage::migrate::pending(&config).await.unwrap();
    assert!(!all.is_empty());
    let (one, two) = tokio::join!(
        storage::migrate::migrate(&config),
        storage::migrate::migrate(&config)
    );
    assert_eq!(one.unwrap().len() + two.unwrap().len(), all.len());
    assert!(storage::migrate::pending(&config).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_claimed_outbox_row_is_exclusive_until_the_claim_expires() {
    let (database, pool) = database().await;
    let mut client = pool.get().await.unwrap();
    for outbox in [Outbox::Gateway, Outbox::Callback, Outbox::Executor, Outbox::Ops] {
        let tx = client.begin().await.unwrap();
        outbox
            .push_many(&tx, &[row("a"), row("b"), row("c")])
            .await
            .unwrap();
        tx.commit().await.unwrap();

        let hold = Duration::from_mins(1);
        let first = outbox.claim(&client, 2, hold, &[]).await.unwrap();
        let second = outbox.claim(&client, 10, hold, &[]).await.unwrap();
        assert_eq!((first.len(), second.len()), (2, 1));
        assert!(first[0].id < first[1].id && first[1].id < second[0].id);
        assert!(outbox.claim(&client, 10, hold, &[]).await.unwrap().is_empty());

        database
            .sql(&format!(
                "update {}_outbox set claimed_until = now() - interval '1 second'",
                outbox.name()
            ))
            .unwrap();
        assert_eq!(outbox.claim(&client, 10, hold, &[]).await.unwrap().len(), 3);
        outbox.release_many(&client, &[second[0].id]).await.unwrap();
        assert_eq!(outbox.claim(&client, 10, hold, &[]).await.unwrap(), second);
        outbox
            .delete_many(&client, &[first[0].id, first[1].id])
            .await
            .unwrap();
        assert_eq!(outbox.backlog(&client).await.unwrap().rows, 1);
        assert!(outbox.has_subject(&client, "c").await.unwrap());
        assert!(!outbox.has_subject(&client, "a").await.unwrap());
    }
}

#[tokio::test]
async fn the_inbox_distinguishes_new_messages_and_forgets_a_rolled_back_batch() {
    let (_database, pool) = database().await;
    let mut client = pool.get().await.unwrap();
    let (a, b) = (SystemSource.message_id(), SystemSource.message_id());
    for inbox in [Inbox::Callback, Inbox::Executor] {
        let tx = client.begin().await.unwrap();
        assert_eq!(inbox.insert_new(&tx, "q", &[a, a]).await.unwrap().len(), 1);
        tx.rollback().await.unwrap();
        let tx = client.begin().await.unwrap();
        assert_eq!(inbox.insert_new(&tx, "q", &[a]).await.unwrap().len(), 1);
        let new = inbox.insert_new(&tx, "q", &[a, b]).await.unwrap();
        assert!(new.contains(&b) && new.len() == 1);
        assert_eq!(inbox.insert_new(&tx, "other", &[a]).await.unwrap().len(), 1);
        tx.commit().await.unwrap();
        assert_eq!(inbox.purge(&client, 1).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_halt_is_audited_once() {
    let (database, pool) = database().await;
    let mut client = pool.get().await.unwrap();
    for (halted, changes) in [(true, true), (true, false), (false, true)] {
        let tx = client.begin().await.unwrap();
        let changed = halts::set(&tx, HaltScope::Execute, halted, "test", "someone")
            .await
            .unwrap();
        tx.commit().await.unwrap();
        assert_eq!(changed, changes);
        assert_eq!(halts::read(&client).await.unwrap()[0].halted, halted);
    }
    assert_eq!(
        database
            .sql("select string_agg(action, ',' order by id) from audit_log")
            .unwrap(),
        "halt,resume"
    );
}

#[tokio::test]
async fn errors_are_classified_by_what_the_caller_can_do() {
    let (database, pool) = database().await;
    let mut client = pool.get().await.unwrap();
    let twice = row("x");
    let tx = client.begin().await.unwrap();
    let error = Outbox::Ops
        .push_many(&tx, &[twice.clone(), twice])
        .await
        .unwrap_err();
    assert_eq!(error.unique_constraint(), Some("ops_outbox_message_id_key"));
    drop(tx);

    let mut impatient = PoolConfig::new(database.url().into(), "test");
    impatient.lock_timeout = Duration::from_millis(50);
    let other = Pool::new(&impatient).unwrap();
    let mut other = other.get().await.unwrap();
    let holder = client.begin().await.unwrap();
    halts::set(&holder, HaltScope::Intake, true, "r", "me")
        .await
        .unwrap();
    let waiter = other.begin().await.unwrap();
    let error = halts::set(&waiter, HaltScope::Intake, true, "r", "me")
        .await
        .unwrap_err();
    assert!(
        matches!(error, StorageError::Conflict(ConflictKind::Lock)),
        "{error:?}"
    );
    assert!(error.is_transient());
}

#[tokio::test]
async fn a_connection_lost_in_a_transaction_is_unavailable_and_at_its_commit_unknown() {
    let (database, pool) = database().await;
    let mut client = pool.get().await.unwrap();
    let kill = "select pg_terminate_backend(pid) from pg_stat_activity \
                where datname = current_database() and pid <> pg_backend_pid()";
    let tx = client.begin().await.unwrap();
    halts::set(&tx, HaltScope::Intake, true, "r", "me").await.unwrap();
    database.sql(kill).unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, StorageError::CommitUnknown { .. }), "{error:?}");
    drop(client);

    // The pool drops a broken connection once it notices the loss.
    let mut client = testkit::eventually(Duration::from_secs(10), "a new connection", async || {
        let mut client = pool.get().await?;
        let alive = client.begin().await.is_ok();
        Ok(alive.then_some(client))
    })
    .await
    .unwrap();
    let tx = client.begin().await.unwrap();
    database.sql(kill).unwrap();
    let error = halts::read(&tx).await.unwrap_err();
    assert!(matches!(error, StorageError::Unavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn a_database_that_is_not_there_is_an_error_not_a_hang() {
    let pool = Pool::new(&PoolConfig::new("postgres://u:p@127.0.0.1:1/x".into(), "test")).unwrap();
    let error = pool.get().await.unwrap_err();
    assert!(matches!(error, StorageError::Unavailable { .. }), "{error:?}");
}
