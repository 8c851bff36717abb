//! `deploy/make-secrets` keeps existing secrets and does not recreate removed ones.
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::fs;
use std::path::Path;
use std::process::Command;

fn make_secrets(dir: &Path) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/make-secrets");
    let done = Command::new(script).arg("--dev").arg(dir).output().unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[test]
fn a_rotated_database_login_is_not_set_back() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    make_secrets(dir);
    let url = dir.join("database/gateway/url");
    let first = fs::read_to_string(&url).unwrap();
    assert!(first.starts_with("postgres://gateway:"), "{first}");

    // A new password for the login of the first day is written down for the service too.
    fs::write(dir.join("gateway_password"), "a new password").unwrap();
    make_secrets(dir);
    let second = fs::read_to_string(&url).unwrap();
    assert_eq!(
        second,
        "postgres://gateway:a new password@postgres:5432/fiatrails"
    );

    let rotated = "postgres://gateway_1767225600:other@postgres:5432/fiatrails\n";
    fs::write(&url, rotated).unwrap();
    make_secrets(dir);
    assert_eq!(fs::read_to_string(&url).unwrap(), rotated);
}

#[test]
fn a_secret_is_made_once_and_an_agreed_one_is_handed_out() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path();
    let key = |service: &str, key: &str| dir.join("keys").join(service).join(key);
    fs::create_dir_all(dir.join("keys/gateway/mpesa")).unwrap();
    fs::write(key("gateway", "mpesa/mk_0001"), "agreed").unwrap();
    make_secrets(dir);
    for service in ["gateway", "callback", "mint-executor", "ops"] {
        assert_eq!(
            fs::read_to_string(key(service, "mpesa/mk_0001")).unwrap(),
            "agreed",
            "{service}"
        );
    }
    let sealing = "pipeline/mint.execute/pk_0001";
    let secret = fs::read_to_string(key("callback", sealing)).unwrap();
    assert_eq!(secret.trim().len(), 64);
    assert_eq!(fs::read_to_string(key("mint-executor", sealing)).unwrap(), secret);
    assert!(!key("gateway", sealing).exists(), "the gateway may not mint");

    // Revoked, and rotated.
    let integrator = "integrator/dev/ik_dev_0001";
    for service in ["gateway", "ops"] {
        fs::remove_file(key(service, integrator)).unwrap();
    }
    fs::write(key("callback", sealing), "newer").unwrap();
    make_secrets(dir);
    assert!(!key("gateway", integrator).exists() && !key("ops", integrator).exists());
    assert_eq!(fs::read_to_string(key("callback", sealing)).unwrap(), "newer");
    assert_eq!(fs::read_to_string(key("mint-executor", sealing)).unwrap(), secret);
}
