//! An HTTP client for plain local HTTP: management API, JSON-RPC, health checks, the gateway.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use reqwest::{Client, Method};
use serde_json::{Value, json};

/// A client for the caller's own runtime: a pooled connection dies with the runtime that opened it, and
/// every `#[tokio::test]` has one. It trusts no certificate: all servers here use plain HTTP.
pub fn client() -> Result<Client> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Client::builder()
        .timeout(Duration::from_secs(30))
        .no_proxy()
        .tls_backend_preconfigured(tls)
        .build()
        .context("HTTP client")
}

/// A JSON request with basic authentication; the answer's JSON (or null).
pub async fn json_request(
    method: Method,
    url: &str,
    user: &str,
    password: &str,
    body: Option<&Value>,
) -> Result<Value> {
    let mut request = client()?
        .request(method.clone(), url)
        .basic_auth(user, Some(password));
    if let Some(body) = body {
        request = request.json(body);
    }
    let response = request.send().await.with_context(|| format!("{method} {url}"))?;
    let status = response.status();
    let text = response.text().await?;
    if !status.is_success() {
        bail!("{method} {url}: {status} {text}");
    }
    Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
}

/// One JSON-RPC call; an error answer is an error.
pub async fn rpc(url: &str, method: &str, params: Value) -> Result<Value> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
    let response = client()?
        .post(url)
        .json(&body)
        .send()
        .await
        .with_context(|| format!("{method} at {url}"))?;
    let mut answer: Value = response
        .json()
        .await
        .with_context(|| format!("{method}: not JSON"))?;
    if let Some(error) = answer.get("error") {
        bail!("{method}: {error}");
    }
    Ok(answer["result"].take())
}
