//! Signs requests, M-Pesa callbacks and checks response signatures, as a client in another language
//! would: written from the documented strings alone, so that it can contradict the product.

use anyhow::{Context, Result};
use ring::{digest, hmac};

/// What is signed of one HTTP request.
#[derive(Debug, Clone, Copy)]
pub struct RequestParts<'a> {
    pub kid: &'a str,
    pub timestamp: i64,
    pub method: &'a str,
    pub path: &'a str,
    pub query: &'a str,
    pub idempotency_key: &'a str,
    pub body: &'a [u8],
}

/// The value of `X-Request-Signature`.
pub fn request(secret_hex: &str, parts: &RequestParts<'_>) -> Result<String> {
    signature("FR1-REQUEST", secret_hex, parts)
}

/// The value of `X-Mpesa-Signature`.
pub fn mpesa(secret_hex: &str, parts: &RequestParts<'_>) -> Result<String> {
    signature(
        "FR1-MPESA",
        secret_hex,
        &RequestParts {
            idempotency_key: "",
            ..*parts
        },
    )
}

fn signature(purpose: &str, secret_hex: &str, parts: &RequestParts<'_>) -> Result<String> {
    let timestamp = parts.timestamp.to_string();
    let lines = [
        purpose,
        parts.kid,
        &timestamp,
        parts.method,
        parts.path,
        parts.query,
        parts.idempotency_key,
        &sha256_hex(parts.body),
    ];
    Ok(format!(
        "kid={},v1={}",
        parts.kid,
        mac(secret_hex, &lines.join("\n"))?
    ))
}

/// What is signed of one answer.
#[derive(Debug, Clone, Copy)]
pub struct AnswerParts<'a> {
    pub kid: &'a str,
    pub timestamp: &'a str,
    pub status: u16,
    pub request_id: &'a str,
    pub idempotency_key: &'a str,
    pub body: &'a [u8],
}

/// The expected value of `X-Response-Signature`.
pub fn response(secret_hex: &str, answer: &AnswerParts<'_>) -> Result<String> {
    let status = answer.status.to_string();
    let lines = [
        "FR1-RESPONSE",
        answer.kid,
        answer.timestamp,
        &status,
        answer.request_id,
        answer.idempotency_key,
        &sha256_hex(answer.body),
    ];
    Ok(format!(
        "kid={},v1={}",
        answer.kid,
        mac(secret_hex, &lines.join("\n"))?
    ))
}

pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, bytes))
}

fn mac(secret_hex: &str, text: &str) -> Result<String> {
    let secret = hex::decode(secret_hex).context("secret is not hex")?;
    let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
    Ok(hex::encode(hmac::sign(&key, text.as_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
    const KEY: &str = "8e03978e-40d5-43e8-bc93-6894a57f9324";

    #[test]
    fn reproduces_the_documented_request() {
        let body = br#"{"user":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8","amount":"150000000000000000000","countryCode":"KES","txRef":"TX0000000001"}"#;
        let parts = RequestParts {
            kid: "ik_test_0001",
            timestamp: 1_767_225_600,
            method: "POST",
            path: "/mint-intents",
            query: "",
            idempotency_key: KEY,
            body,
        };
        assert_eq!(
            request(SECRET, &parts).unwrap(),
            "kid=ik_test_0001,v1=61508ad17ce6e1c7dd90e8177f72676f71d749cc9d7bd51c22ac3c431db6e66c"
        );
    }

    #[test]
    fn reproduces_the_documented_callback() {
        let body = br#"{"txRef":"TX0000000001","amount":"150","phone":"254708374149","timestamp":1767225600,"receipt":"NLJ7RT61SV","resultCode":0}"#;
        let parts = RequestParts {
            kid: "mk_test_0001",
            timestamp: 1_767_225_600,
            method: "POST",
            path: "/callbacks/mpesa",
            query: "",
            idempotency_key: "ignored",
            body,
        };
        assert_eq!(
            mpesa(SECRET, &parts).unwrap(),
            "kid=mk_test_0001,v1=a650c67e5bead0d44ffab8938b089b805960553c6195894436fae49c49aace61"
        );
    }

    #[test]
    fn reproduces_the_documented_answer() {
        let answer = AnswerParts {
            kid: "ik_test_0001",
            timestamp: "1767225601",
            status: 201,
            request_id: "req_0001",
            idempotency_key: KEY,
            body: br#"{"intentId":"0x00","status":"pending"}"#,
        };
        assert_eq!(
            response(SECRET, &answer).unwrap(),
            "kid=ik_test_0001,v1=0d5b039e593d9878fc4ee0c580ef7f7d3feeb96547e3521b1b618b67d54f8a70"
        );
    }
}
