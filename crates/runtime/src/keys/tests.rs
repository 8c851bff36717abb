use super::*;

fn put(dir: &Path, file: &str, content: &str) {
    let path = dir.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

fn kid(text: &str) -> KeyId {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_bad_file_is_skipped_and_drops_no_good_key() {
    let dir = tempfile::tempdir().unwrap();
    let good = "ab".repeat(32);
    put(dir.path(), "mpesa/m1", &format!("{good}\n"));
    put(dir.path(), "mpesa/short", "abcd");
    put(dir.path(), "mpesa/bad name", &good);
    put(dir.path(), "elsewhere/x", &good);
    put(dir.path(), "mpesa/.hidden", &good);
    put(dir.path(), "integrator/dev/i1", &good);
    put(dir.path(), "stored-answer/s1", &good);
    put(dir.path(), "pipeline/mint.execute/p1", &good);
    let keys = KeyDirectory::open(dir.path()).unwrap();
    let now = keys.current();
    assert_eq!(now.mpesa.key_ids().collect::<Vec<_>>(), [&kid("m1")]);
    assert_eq!(now.integrator(&kid("i1")).unwrap().0.as_str(), "dev");
    assert!(now.stored_answers.current().is_some());
    assert_eq!(now.pipeline.kids(WorkQueue::MintExecute).count(), 1);
    assert!(!keys.reload().await.unwrap());

    put(dir.path(), "mpesa/m1", "half writ");
    put(dir.path(), "mpesa/m2", &"cd".repeat(32));
    assert!(keys.reload().await.unwrap());
    let now = keys.current();
    assert!(
        now.mpesa.get(&kid("m1")).is_some(),
        "a key whose file broke stays"
    );
    assert_eq!(now.mpesa.current().unwrap().0, &kid("m2"));

    fs::remove_file(dir.path().join("mpesa/m1")).unwrap();
    assert!(keys.reload().await.unwrap());
    assert!(
        keys.current().mpesa.get(&kid("m1")).is_none(),
        "a removed key is gone"
    );
}

#[tokio::test]
async fn a_changed_secret_is_a_change_and_reaches_the_pipeline() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "pipeline/mint.refund/p1", &"ab".repeat(32));
    let keys = KeyDirectory::open(dir.path()).unwrap();
    let shared = keys.pipeline();
    let mut changes = keys.subscribe();
    put(dir.path(), "pipeline/mint.refund/p1", &"cd".repeat(32));
    put(dir.path(), "pipeline/mint.refund/p2", &"ef".repeat(32));
    assert!(keys.reload().await.unwrap());
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    assert_eq!(shared.current().kids(WorkQueue::MintRefund).count(), 2);
}

#[tokio::test]
async fn a_new_key_verifies_at_once_and_seals_after_the_activation_delay() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "pipeline/mint.refund/p1", &"ab".repeat(32));
    put(dir.path(), "stored-answer/s1", &"ab".repeat(32));
    let keys = KeyDirectory::open(dir.path()).unwrap();
    let sealer = messaging::Sealer::new(keys.pipeline());
    put(dir.path(), "pipeline/mint.refund/p2", &"ef".repeat(32));
    put(dir.path(), "stored-answer/s2", &"ef".repeat(32));
    let seen = Instant::now();
    assert!(keys.reload_at(seen).await.unwrap());
    let signing = || {
        let answers = keys.current().stored_answers.current().unwrap().0.clone();
        (sealer.current_kid(WorkQueue::MintRefund).unwrap(), answers)
    };
    assert_eq!(signing(), (kid("p1"), kid("s1")));
    assert_eq!(keys.pipeline().current().kids(WorkQueue::MintRefund).count(), 2);
    let almost = seen + ACTIVATION_DELAY - Duration::from_secs(1);
    assert!(!keys.reload_at(almost).await.unwrap());
    assert_eq!(signing(), (kid("p1"), kid("s1")));
    assert!(
        keys.reload_at(seen + ACTIVATION_DELAY).await.unwrap(),
        "activation is a change"
    );
    assert_eq!(signing(), (kid("p2"), kid("s2")));
    assert!(!keys.reload_at(seen + ACTIVATION_DELAY).await.unwrap());
}

#[test]
fn a_missing_directory_is_an_error() {
    let error = KeyDirectory::open(Path::new("/no/such/keys")).unwrap_err();
    assert!(error.to_string().contains("/no/such/keys"));
}
