//! One HTTP endpoint: requests with limited time and size, and the endpoint's health.

use std::time::{Duration, Instant};

use domain::backoff::Backoff;
use ethers::providers::JsonRpcError;
use parking_lot::Mutex;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::error::{EndpointFailure, TransportError};
use crate::endpoint_status::EndpointStatus;

/// Between two requests to an endpoint that fails.
const PAUSES: Backoff = Backoff {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(15),
};
/// JSON-RPC's conventional code for exceeded rate limits.
const LIMIT_EXCEEDED: i64 = -32005;

#[derive(Clone, Copy)]
pub struct CallLimits {
    pub max_response_bytes: usize,
    pub timeout: Duration,
    /// Wait for an answer before the request is sent a second time.
    pub retry_delay: Duration,
}

pub struct RpcEndpoint {
    name: String,
    url: reqwest::Url,
    health: Mutex<EndpointHealth>,
}

#[derive(Default)]
struct EndpointHealth {
    failures: u32,
    down_until: Option<Instant>,
    status: EndpointStatus,
}

/// A node's answer: a result, or an error.
pub type JsonRpcAnswer = Result<Box<RawValue>, JsonRpcError>;

#[derive(Serialize)]
struct JsonRpcRequest<'a> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: &'a RawValue,
}

#[derive(Deserialize)]
struct JsonRpcResponse {
    id: serde_json::Value,
    #[serde(default)]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<JsonRpcError>,
}

impl RpcEndpoint {
    pub fn new(index: usize, url: &SecretString) -> Result<Self, TransportError> {
        let setup = |problem: &str| TransportError::Setup(format!("RPC endpoint {index}: {problem}"));
        let url: reqwest::Url = url.expose_secret().parse().map_err(|_| setup("not a URL"))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(setup("only http and https are spoken"));
        }
        let name = format!("{index}:{}", url.host_str().unwrap_or_default());
        Ok(Self {
            name,
            url,
            health: Mutex::default(),
        })
    }

    /// Index and host; path and query are left out because they may hold an access token.
    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn down_for(&self, now: Instant) -> Duration {
        let health = self.health.lock();
        health
            .down_until
            .map(|until| until.saturating_duration_since(now))
            .unwrap_or_default()
    }

    pub fn status(&self) -> EndpointStatus {
        self.health.lock().status
    }

    /// True when the status changed.
    pub fn set_status(&self, status: EndpointStatus) -> bool {
        let mut health = self.health.lock();
        std::mem::replace(&mut health.status, status) != status
    }

    /// The endpoint answered; the content of the answer does not matter here.
    pub fn record_success(&self) {
        let mut health = self.health.lock();
        health.failures = 0;
        health.down_until = None;
    }

    pub fn record_failure(&self, now: Instant) {
        let mut health = self.health.lock();
        let pause = PAUSES.wait(health.failures);
        health.failures = health.failures.saturating_add(1);
        health.down_until = now.checked_add(pause);
    }

    pub async fn call(
        &self,
        http: &reqwest::Client,
        limits: CallLimits,
        id: u64,
        method: &str,
        params: &RawValue,
    ) -> Result<JsonRpcAnswer, EndpointFailure> {
        let request = JsonRpcRequest {
            jsonrpc: "2.0",
            id,
            method,
            params,
        };
        let sent = http.post(self.url.clone()).json(&request).send().await;
        let response = sent.map_err(|error| http_failure(&error))?;
        let status = response.status();
        if status == reqwest::StatusCode::TOO_MANY_REQUESTS {
            return Err(EndpointFailure::RateLimited);
        }
        if !status.is_success() {
            return Err(EndpointFailure::Status(status.as_u16()));
        }
        let body = bounded_body(response, limits.max_response_bytes).await?;
        read_answer(&body, id)
    }
}

async fn bounded_body(mut response: reqwest::Response, max: usize) -> Result<Vec<u8>, EndpointFailure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| http_failure(&error))? {
        if body.len() + chunk.len() > max {
            return Err(EndpointFailure::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn read_answer(body: &[u8], id: u64) -> Result<JsonRpcAnswer, EndpointFailure> {
    let response: JsonRpcResponse = serde_json::from_slice(body).map_err(|_| EndpointFailure::Malformed)?;
    match response.error {
        Some(error) if error.code == LIMIT_EXCEEDED => Err(EndpointFailure::RateLimited),
        // Some nodes answer errors with a null id.
        Some(error) if response.id == id || response.id.is_null() => Ok(Err(error)),
        Some(_) => Err(EndpointFailure::Malformed),
        None if response.id != id => Err(EndpointFailure::Malformed),
        // `"result": null` is an answer ("no such block"); serde reads it as a missing one.
        None => Ok(Ok(response.result.unwrap_or_else(|| RawValue::NULL.to_owned()))),
    }
}

fn http_failure(error: &reqwest::Error) -> EndpointFailure {
    if error.is_timeout() {
        EndpointFailure::Timeout
    } else if error.is_connect() {
        EndpointFailure::Connect
    } else {
        EndpointFailure::Broken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_with_another_request_id_is_malformed() {
        let body = br#"{"jsonrpc":"2.0","id":7,"result":"0x1"}"#;
        assert_eq!(read_answer(body, 7).unwrap().unwrap().get(), "\"0x1\"");
        assert_eq!(read_answer(body, 8).unwrap_err(), EndpointFailure::Malformed);
        assert_eq!(read_answer(b"<html>", 1).unwrap_err(), EndpointFailure::Malformed);
    }

    #[test]
    fn null_is_a_result_and_an_error_is_an_answer() {
        assert_eq!(
            read_answer(br#"{"id":1,"result":null}"#, 1)
                .unwrap()
                .unwrap()
                .get(),
            "null"
        );
        let refused = br#"{"id":1,"error":{"code":-32000,"message":"nonce too low"}}"#;
        assert_eq!(
            read_answer(refused, 1).unwrap().unwrap_err().message,
            "nonce too low"
        );
        let limited = br#"{"id":1,"error":{"code":-32005,"message":"limit exceeded"}}"#;
        assert_eq!(read_answer(limited, 1).unwrap_err(), EndpointFailure::RateLimited);
    }

    #[test]
    fn pauses_grow_and_end_with_the_first_success() {
        let endpoint = RpcEndpoint::new(0, &"http://127.0.0.1:1/key".into()).unwrap();
        let now = Instant::now();
        assert_eq!(endpoint.down_for(now), Duration::ZERO);
        endpoint.record_failure(now);
        assert_eq!(endpoint.down_for(now), PAUSES.first);
        for _ in 0..20 {
            endpoint.record_failure(now);
        }
        assert_eq!(endpoint.down_for(now), PAUSES.longest);
        endpoint.record_success();
        assert_eq!(endpoint.down_for(now), Duration::ZERO);
        assert!(!endpoint.name().contains("key"));
    }
}
