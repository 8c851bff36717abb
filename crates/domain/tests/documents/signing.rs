//! Known answers of docs/SIGNING.md and docs/PROTOCOL.md.

use std::fmt::Write as _;

use domain::country::CountryCode;
use domain::ids::Preimage;
use domain::signature::{HmacSecret, KeyId, SignedRequest, SignedResponse, SigningScheme};

use crate::page::assert_part;

const INTENT: &str = r#"{"user":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8","amount":"150000000000000000000","countryCode":"KES","txRef":"TX0000000001"}"#;
const REPORT: &str = r#"{"txRef":"TX0000000001","amount":"150","phone":"254708374149","timestamp":1767225600,"receipt":"NLJ7RT61SV","resultCode":0}"#;
const ANSWER: &str = r#"{"intentId":"0x00","status":"pending"}"#;
const IDEMPOTENCY_KEY: &str = "8e03978e-40d5-43e8-bc93-6894a57f9324";

fn secret() -> HmacSecret {
    HmacSecret::from_bytes(&(0..32).collect::<Vec<u8>>()).unwrap()
}

/// One known answer: the body, the signed lines, the MAC.
fn entry(what: &str, body: &str, signed: &str, mac: &str) -> String {
    let mut out = format!("**{what}**");
    if body.is_empty() {
        out.push_str(", no body");
    } else {
        write!(out, ", body:\n\n```json\n{body}\n```").unwrap();
    }
    write!(
        out,
        "\n\nThe signed lines:\n\n```\n{signed}\n```\n\n`v1` is `{mac}`.\n\n"
    )
    .unwrap();
    out
}

fn request(what: &str, request: &SignedRequest<'_>) -> String {
    let body = std::str::from_utf8(request.body).unwrap();
    let mac = request.sign(&secret()).macs[0].to_hex();
    entry(what, body, &request.string_to_sign(), &mac)
}

#[test]
fn the_known_answers_of_signing_are_ours() {
    let (integrator, mpesa): (KeyId, KeyId) =
        ("ik_test_0001".parse().unwrap(), "mk_test_0001".parse().unwrap());
    let create = SignedRequest {
        scheme: SigningScheme::Request,
        key_id: &integrator,
        timestamp: "1767225600",
        method: "POST",
        path: "/mint-intents",
        query: "",
        idempotency_key: IDEMPOTENCY_KEY,
        body: INTENT.as_bytes(),
    };
    let path = format!("/api/v1/mint-intents/0x{}", "ab".repeat(32));
    let read = SignedRequest {
        method: "GET",
        path: &path,
        idempotency_key: "",
        body: b"",
        ..create
    };
    let report = SignedRequest {
        scheme: SigningScheme::Mpesa,
        key_id: &mpesa,
        path: "/callbacks/mpesa",
        idempotency_key: "",
        body: REPORT.as_bytes(),
        ..create
    };
    let answer = SignedResponse {
        key_id: &integrator,
        timestamp: 1_767_225_601,
        status: 201,
        request_id: "req_0001",
        idempotency_key: IDEMPOTENCY_KEY,
        body: ANSWER.as_bytes(),
    };
    let said = [
        request("An integrator asks for a mint", &create),
        request("An integrator reads an intent", &read),
        request("M-Pesa reports a payment", &report),
        entry(
            "The gateway answers 201",
            ANSWER,
            &answer.string_to_sign(),
            &answer.sign(&secret()).macs[0].to_hex(),
        ),
    ];
    let said = format!("{}\n", said.concat().trim_end());
    assert_part("SIGNING.md", "known answers", &said);
}

#[test]
fn the_known_intent_id_is_ours() {
    let preimage = Preimage {
        chain_id: 31430,
        escrow: "0x5FbDB2315678afecb367f032d93F642f64180aa3".parse().unwrap(),
        depositor: "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65".parse().unwrap(),
        user: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse().unwrap(),
        amount: "150000000000000000000".parse().unwrap(),
        country_code: CountryCode::KES,
        tx_ref: "TX0000000001".parse().unwrap(),
    };
    let mut chain_id = [0; 32];
    chain_id[24..].copy_from_slice(&preimage.chain_id.to_be_bytes());
    let words = [
        ("chainId", preimage.chain_id.to_string(), chain_id),
        ("escrow", preimage.escrow.to_string(), preimage.escrow.to_word()),
        (
            "depositor",
            preimage.depositor.to_string(),
            preimage.depositor.to_word(),
        ),
        ("user", preimage.user.to_string(), preimage.user.to_word()),
        ("amount", preimage.amount.to_string(), preimage.amount.to_word()),
        (
            "countryCode",
            preimage.country_code.to_string(),
            preimage.country_code.to_word(),
        ),
        ("txRef", preimage.tx_ref.to_string(), preimage.tx_ref.to_word()),
    ];
    let mut said = "| field | value | word |\n|---|---|---|\n".to_owned();
    for (field, value, word) in words {
        writeln!(said, "| `{field}` | `{value}` | `{}` |", hex::encode(word)).unwrap();
    }
    write!(said, "\nThe id is `{}`.\n", preimage.intent_id()).unwrap();
    assert_part("PROTOCOL.md", "intent id", &said);
}
