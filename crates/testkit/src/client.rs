//! A client that acts as an integrator and as M-Pesa: real HTTP, real signatures.

use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, ensure};
use reqwest::{Method, header::HeaderMap};
use serde_json::{Value, json};

use crate::{
    http,
    keys::{DevKeys, MPESA_KID, REQUEST_KID, random_hex},
    sign::{self, AnswerParts, RequestParts},
};

/// Signs with one integrator key and one M-Pesa key.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    pub request_kid: String,
    pub request_secret_hex: String,
    pub mpesa_kid: String,
    pub mpesa_secret_hex: String,
}

/// A whole answer, its body as the bytes that were signed.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body)
            .with_context(|| format!("{}: {}", self.status, String::from_utf8_lossy(&self.body)))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The problem code of an error answer.
    pub fn code(&self) -> Option<String> {
        Some(self.json().ok()?.get("code")?.as_str()?.to_owned())
    }
}

impl Client {
    /// With the development keys, against `http://host:port`.
    pub fn new(base: impl Into<String>, keys: &DevKeys) -> Result<Self> {
        Ok(Self {
            http: http::client()?,
            base: base.into(),
            request_kid: REQUEST_KID.into(),
            request_secret_hex: keys.request_secret_hex.clone(),
            mpesa_kid: MPESA_KID.into(),
            mpesa_secret_hex: keys.mpesa_secret_hex.clone(),
        })
    }

    /// From the variables of `.stack/env`.
    pub fn from_env() -> Result<Self> {
        let var = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
        Ok(Self {
            http: http::client()?,
            base: var("FIATRAILS_GATEWAY_URL")?,
            request_kid: var("FIATRAILS_REQUEST_KID")?,
            request_secret_hex: var("FIATRAILS_REQUEST_SECRET_HEX")?,
            mpesa_kid: var("FIATRAILS_MPESA_KID")?,
            mpesa_secret_hex: var("FIATRAILS_MPESA_SECRET_HEX")?,
        })
    }

    pub fn base(&self) -> &str {
        &self.base
    }

    /// `POST /mint-intents`.
    pub async fn create(&self, idempotency_key: &str, body: &Value) -> Result<Reply> {
        self.create_raw(idempotency_key, serde_json::to_vec(body)?).await
    }

    pub async fn create_raw(&self, idempotency_key: &str, body: Vec<u8>) -> Result<Reply> {
        self.signed(Method::POST, "/mint-intents", idempotency_key, body)
            .await
    }

    /// `GET /mint-intents/{id}`.
    pub async fn read(&self, intent_id: &str) -> Result<Reply> {
        self.signed(Method::GET, &format!("/mint-intents/{intent_id}"), "", Vec::new())
            .await
    }

    /// `POST /callbacks/mpesa`.
    pub async fn callback(&self, body: &Value) -> Result<Reply> {
        self.callback_raw(serde_json::to_vec(body)?, now()?).await
    }

    pub async fn callback_raw(&self, body: Vec<u8>, timestamp: i64) -> Result<Reply> {
        let path = "/callbacks/mpesa";
        let parts = RequestParts {
            kid: &self.mpesa_kid,
            timestamp,
            method: "POST",
            path,
            query: "",
            idempotency_key: "",
            body: &body,
        };
        let signature = sign::mpesa(&self.mpesa_secret_hex, &parts)?;
        let request = self
            .http
            .post(format!("{}{path}", self.base))
            .header("Content-Type", "application/json")
            .header("X-Request-Timestamp", timestamp.to_string())
            .header("X-Mpesa-Signature", signature)
            .body(body);
        receive(request).await
    }

    /// A signed request; fails if the answer is not signed as it must be.
    async fn signed(&self, method: Method, path: &str, key: &str, body: Vec<u8>) -> Result<Reply> {
        let timestamp = now()?;
        let parts = RequestParts {
            kid: &self.request_kid,
            timestamp,
            method: method.as_str(),
            path,
            query: "",
            idempotency_key: key,
            body: &body,
        };
        let signature = sign::request(&self.request_secret_hex, &parts)?;
        let mut request = self
            .http
            .request(method, format!("{}{path}", self.base))
            .header("X-Request-Timestamp", timestamp.to_string())
            .header("X-Request-Signature", signature);
        if !key.is_empty() {
            request = request
                .header("X-Idempotency-Key", key)
                .header("Content-Type", "application/json");
        }
        let reply = receive(request.body(body)).await?;
        if reply.status < 400 {
            self.check_signature(&reply, key)?;
        }
        Ok(reply)
    }

    /// Checks the signature of the answer, as every client must.
    pub fn check_signature(&self, reply: &Reply, idempotency_key: &str) -> Result<()> {
        let header = |name: &str| {
            reply
                .header(name)
                .with_context(|| format!("the answer has no {name}"))
        };
        let expected = sign::response(
            &self.request_secret_hex,
            &AnswerParts {
                kid: &self.request_kid,
                timestamp: header("X-Response-Timestamp")?,
                status: reply.status,
                request_id: header("X-Request-Id")?,
                idempotency_key,
                body: &reply.body,
            },
        )?;
        ensure!(
            header("X-Response-Signature")? == expected,
            "the answer's signature is wrong"
        );
        Ok(())
    }
}

async fn receive(request: reqwest::RequestBuilder) -> Result<Reply> {
    let response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Reply {
        status,
        headers,
        body: response.bytes().await?.to_vec(),
    })
}

/// A body for `POST /mint-intents`, in whole shillings.
pub fn intent_body(user: &str, shillings: u32, tx_ref: &str) -> Value {
    json!({"user": user, "amount": base_units(shillings), "countryCode": "KES", "txRef": tx_ref})
}

/// A body for `POST /callbacks/mpesa` that reports a payment.
pub fn paid_body(tx_ref: &str, shillings: u32, receipt: &str) -> Result<Value> {
    Ok(json!({
        "txRef": tx_ref, "amount": shillings.to_string(), "phone": "254708374149",
        "timestamp": now()?, "receipt": receipt, "resultCode": 0,
    }))
}

/// 18 decimals: one shilling is 10^18 base units.
pub fn base_units(shillings: u32) -> String {
    if shillings == 0 {
        "0".into()
    } else {
        format!("{shillings}000000000000000000")
    }
}

pub fn fresh_key() -> Result<String> {
    random_hex::<16>()
}

/// An address that was not used before.
pub fn fresh_address() -> Result<String> {
    Ok(format!("0x{}", random_hex::<20>()?))
}

pub fn fresh_tx_ref(prefix: &str) -> Result<String> {
    Ok(format!("{prefix}{}", random_hex::<6>()?.to_uppercase()))
}

/// Unix seconds of this machine: signatures must be fresh against the real clock.
pub fn now() -> Result<i64> {
    Ok(i64::try_from(
        UNIX_EPOCH
            .elapsed()
            .context("the clock is before 1970")?
            .as_secs(),
    )?)
}
