//! `sign` reproduces the documented answers, and never shows a secret.

use anyhow::Result;

use crate::cli::Cli;

const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const BODY: &str = r#"{"user":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8","amount":"150000000000000000000","countryCode":"KES","txRef":"TX0000000001"}"#;
const CALLBACK: &str = r#"{"txRef":"TX0000000001","amount":"150","phone":"254708374149","timestamp":1767225600,"receipt":"NLJ7RT61SV","resultCode":0}"#;
const REQUEST_MAC: &str = "61508ad17ce6e1c7dd90e8177f72676f71d749cc9d7bd51c22ac3c431db6e66c";
const CALLBACK_MAC: &str = "a650c67e5bead0d44ffab8938b089b805960553c6195894436fae49c49aace61";
const READ_MAC: &str = "3b1927a99d02313f465040b2fe98249093a45143a214a517e71ffec129b17b40";
const KEY: &str = "8e03978e-40d5-43e8-bc93-6894a57f9324";

fn signer() -> Cli {
    Cli::new()
        .with("FIATRAILS_REQUEST_KID", "ik_test_0001")
        .with("FIATRAILS_REQUEST_SECRET_HEX", SECRET)
        .with("FIATRAILS_MPESA_KID", "mk_test_0001")
        .with("FIATRAILS_MPESA_SECRET_HEX", SECRET)
}

#[test]
fn the_documented_request() -> Result<()> {
    let args = [
        "sign",
        "request",
        "--timestamp",
        "1767225600",
        "--idempotency-key",
        KEY,
    ];
    let given = signer().ok(&[&args[..], &["--body", BODY]].concat())?;
    assert!(
        given.contains(&format!(
            "X-Request-Signature: kid=ik_test_0001,v1={REQUEST_MAC}\n"
        )),
        "{given}"
    );
    assert!(given.contains(&format!("X-Idempotency-Key: {KEY}\n")), "{given}");
    let flags = [
        "--user",
        "0x70997970C51812dc3A010C7d01b50e0d17dc79C8",
        "--amount",
        "150",
        "--country",
        "KES",
        "--tx-ref",
        "TX0000000001",
    ];
    let built = signer().ok(&[&args[..], &flags].concat())?;
    assert!(
        built.contains(REQUEST_MAC) && built.ends_with(&format!("\n\n{BODY}\n")),
        "{built}"
    );
    Ok(())
}

#[test]
fn the_documented_callback_and_read() -> Result<()> {
    let at = ["--timestamp", "1767225600"];
    let callback = signer().ok(&[&["sign", "callback", "--body", CALLBACK][..], &at].concat())?;
    assert!(
        callback.contains(&format!(
            "X-Mpesa-Signature: kid=mk_test_0001,v1={CALLBACK_MAC}\n"
        )),
        "{callback}"
    );
    let path = format!("/api/v1/mint-intents/0x{}", "ab".repeat(32));
    let read = signer().ok(&[&["sign", "request", "--method", "GET", "--path", &path][..], &at].concat())?;
    assert!(read.contains(READ_MAC) && !read.contains("Idempotency"), "{read}");
    Ok(())
}

#[test]
fn a_curl_command_holds_everything_but_the_secret() -> Result<()> {
    let quoted = BODY.replace("TX0000000001", "TX1'; rm -rf /");
    let cli = signer().with("FIATRAILS_GATEWAY_URL", "http://127.0.0.1:9/");
    let curl = cli.ok(&["sign", "request", "--body", &quoted, "--curl"])?;
    assert!(
        curl.starts_with("curl -sS -X POST 'http://127.0.0.1:9/mint-intents'"),
        "{curl}"
    );
    assert!(
        curl.contains(r"TX1'\''; rm -rf /") && !curl.contains(SECRET),
        "{curl}"
    );
    let value = cli.json(&["sign", "callback", "--tx-ref", "TX1", "--amount", "150"])?;
    assert_eq!(value["url"], "http://127.0.0.1:9/callbacks/mpesa");
    let body: serde_json::Value = serde_json::from_str(value["body"].as_str().unwrap_or_default())?;
    assert_eq!(
        (body["amount"].as_str(), body["resultCode"].as_i64()),
        (Some("150"), Some(0))
    );
    assert!(body["receipt"].is_string() && !value.to_string().contains(SECRET));
    Ok(())
}

#[test]
fn the_secret_may_be_in_the_key_directory_or_in_a_file() -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::create_dir_all(dir.path().join("mpesa"))?;
    std::fs::write(dir.path().join("mpesa/mk_test_0001"), SECRET)?;
    let args = [
        "sign",
        "callback",
        "--body",
        CALLBACK,
        "--timestamp",
        "1767225600",
    ];
    let by_dir = Cli::new().with("FIATRAILS_KEYS_DIR", dir.path().display().to_string());
    assert!(by_dir.ok(&args)?.contains(CALLBACK_MAC));
    let file = dir.path().join("mpesa/mk_test_0001").display().to_string();
    let by_file = Cli::new()
        .with("FIATRAILS_MPESA_SECRET_HEX_FILE", file)
        .with("FIATRAILS_MPESA_KID", "mk_test_0001");
    assert!(by_file.ok(&args)?.contains(CALLBACK_MAC));
    let other = by_dir.run(&[&args[..], &["--kid", "mk_other"]].concat())?;
    assert_eq!(other.code, 2);
    assert!(
        other.stderr.contains("mk_other") && other.stderr.contains("fix:"),
        "{other:?}"
    );
    Ok(())
}

#[test]
fn errors_name_what_is_wrong_and_the_fix() -> Result<()> {
    let none = Cli::new().run(&["sign", "callback", "--body", CALLBACK])?;
    assert_eq!(none.code, 2);
    assert!(none.stderr.contains("FIATRAILS_MPESA_SECRET_HEX"), "{none:?}");
    let short = signer()
        .with("FIATRAILS_REQUEST_SECRET_HEX", "abcd")
        .run(&["sign", "request", "--body", BODY])?;
    assert!(
        short.stderr.contains("at least 32 bytes") && !short.stderr.contains("abcd"),
        "{short:?}"
    );
    let nothing = signer().run(&["sign", "request", "--json"])?;
    let error: serde_json::Value = serde_json::from_str(&nothing.stderr)?;
    assert!(
        error["fix"].as_str().is_some_and(|fix| fix.contains("--user")),
        "{error}"
    );
    let address = signer().run(&[
        "sign",
        "request",
        "--user",
        "0x70997970c51812dc3A010C7d01b50e0d17dc79C8",
        "--amount",
        "1",
    ])?;
    assert!(
        address.code == 2 && address.stderr.contains("--user") && address.stderr.contains("checksum"),
        "{address:?}"
    );
    Ok(())
}
