//! JSON-RPC over HTTP with several endpoints: the first healthy one that is in sync is asked, the next when it fails.
//!
//! Every request may be sent twice (reads, and raw transactions whose nonce is inside them), so failing over to another
//! endpoint is always safe. A JSON-RPC error is an answer where it is final for a transaction; after any other error
//! the next endpoint is asked.

mod endpoint;
mod error;
mod error_scope;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ethers::providers::JsonRpcClient;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::time::timeout;

use endpoint::{CallLimits, JsonRpcAnswer, RpcEndpoint};
pub use error::{EndpointFailure, TransportError};
use error_scope::ErrorScope;
pub(crate) use error_scope::means_unknown_block;

use crate::endpoint_status::EndpointStatus;
use crate::observe;

/// How often one endpoint is sent the same request when connections break or stay silent.
const MAX_TRIES: u32 = 5;
/// The first retry starts after this fraction of the timeout, the next after twice as long, and so on: the fifth try has
/// a quarter of the timeout left.
const RETRY_FRACTION: u32 = 20;
/// A healthy node may take this long to answer.
const MIN_RETRY_DELAY: Duration = Duration::from_millis(500);
/// A caller that abandons a request after this time found the endpoint too slow; an earlier caller simply lost interest.
const TOO_SLOW: Duration = Duration::from_secs(1);

/// Clones share the endpoints and their health.
#[derive(Clone)]
pub struct Transport {
    state: Arc<TransportState>,
    /// Index of the only endpoint to ask, for requests whose answers must come from one view of the chain.
    pinned: Option<usize>,
}

struct TransportState {
    endpoints: Vec<RpcEndpoint>,
    http: reqwest::Client,
    limits: CallLimits,
    next_id: AtomicU64,
}

impl Debug for Transport {
    // Endpoint URLs often carry an access token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transport({} endpoints)", self.state.endpoints.len())
    }
}

impl Transport {
    pub fn new(
        urls: &[SecretString],
        timeout: Duration,
        max_response_bytes: usize,
    ) -> Result<Self, TransportError> {
        if urls.is_empty() {
            return Err(TransportError::Setup("no RPC endpoint is configured".into()));
        }
        // `Err` means that the process has installed a provider already, which is just as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(timeout)
            .connect_timeout(timeout.min(Duration::from_secs(5)))
            .pool_idle_timeout(Duration::from_mins(1))
            .tcp_nodelay(true)
            .build()
            .map_err(|error| TransportError::Setup(error.without_url().to_string()))?;
        let endpoints = urls
            .iter()
            .enumerate()
            .map(|(index, url)| RpcEndpoint::new(index, url))
            .collect::<Result<_, _>>()?;
        let limits = CallLimits {
            max_response_bytes,
            timeout,
            retry_delay: (timeout / RETRY_FRACTION).max(MIN_RETRY_DELAY),
        };
        let state = TransportState {
            endpoints,
            http,
            limits,
            next_id: AtomicU64::new(1),
        };
        Ok(Self {
            state: Arc::new(state),
            pinned: None,
        })
    }

    /// Pins to the healthiest endpoint, for several requests that belong together.
    pub fn pinned(&self) -> Self {
        let first = self.endpoint_order().first().copied();
        Self {
            state: self.state.clone(),
            pinned: first,
        }
    }

    pub fn endpoint_count(&self) -> usize {
        self.state.endpoints.len()
    }

    pub fn pinned_to(&self, index: usize) -> Self {
        Self {
            state: self.state.clone(),
            pinned: Some(index),
        }
    }

    /// One transport per endpoint that can be asked now, or per endpoint if none can.
    pub fn pinned_to_each(&self) -> Vec<Self> {
        let now = Instant::now();
        let able = |index: &usize| self.state.endpoints[*index].down_for(now).is_zero();
        let order = self.endpoint_order();
        let mut indexes: Vec<usize> = order.iter().copied().filter(able).collect();
        if indexes.is_empty() {
            indexes = order;
        }
        indexes.into_iter().map(|index| self.pinned_to(index)).collect()
    }

    /// Stores the statuses of the endpoints; returns each one's name, whether its status changed, and the status.
    pub fn set_statuses(&self, statuses: &[EndpointStatus]) -> Vec<(String, bool, EndpointStatus)> {
        let endpoints = self.state.endpoints.iter().zip(statuses);
        endpoints
            .map(|(endpoint, status)| (endpoint.name().to_owned(), endpoint.set_status(*status), *status))
            .collect()
    }

    /// Endpoints in sync first, then those behind; within each group the available ones in their configured order, then
    /// those that recover soonest. An endpoint on another chain is asked only if all are.
    fn endpoint_order(&self) -> Vec<usize> {
        if let Some(only) = self.pinned {
            return vec![only];
        }
        let now = Instant::now();
        let mut order: Vec<_> = (0..self.state.endpoints.len()).collect();
        order.sort_by_key(|index| {
            let endpoint = &self.state.endpoints[*index];
            (endpoint.status(), endpoint.down_for(now))
        });
        let foreign = |index: &usize| self.is_on_other_chain(*index);
        let ours = order.iter().position(foreign).unwrap_or(order.len());
        if ours > 0 {
            order.truncate(ours);
        }
        order
    }

    fn is_on_other_chain(&self, index: usize) -> bool {
        self.state.endpoints[index].status() == EndpointStatus::OtherChain
    }

    async fn call(&self, method: &str, params: &RawValue) -> Result<Box<RawValue>, TransportError> {
        let mut last = None;
        for index in self.endpoint_order() {
            let endpoint = &self.state.endpoints[index];
            if last.is_some() {
                observe::failed_over(method);
            }
            let mut call = EndpointCall::start(endpoint);
            let answer = self.try_endpoint(endpoint, method, params).await;
            call.answered = true;
            let failure = match answer {
                Ok(Ok(result)) => {
                    endpoint.record_success();
                    return Ok(result);
                }
                Ok(Err(error)) => {
                    match error_scope::error_scope(method, &error) {
                        ErrorScope::Final => {
                            endpoint.record_success();
                            return Err(TransportError::Node(error));
                        }
                        ErrorScope::Request => {}
                        ErrorScope::Endpoint => endpoint.record_failure(Instant::now()),
                    }
                    TransportError::Node(error)
                }
                Err(failure) => {
                    endpoint.record_failure(Instant::now());
                    TransportError::Unavailable(failure)
                }
            };
            tracing::debug!(endpoint = endpoint.name(), method, %failure, "RPC endpoint did not serve the request");
            // A request may be too much for every node; one node's error explains that better than another's silence.
            if !matches!(last, Some(TransportError::Node(_))) {
                last = Some(failure);
            }
        }
        Err(last.unwrap_or(TransportError::Unavailable(EndpointFailure::Connect)))
    }

    /// A bad line loses requests and answers, with an error or silently, so work that needs twenty answers in a row would
    /// never complete. A broken connection is retried at once; beside a silent one, more tries start after growing waits. The
    /// first answer counts, whatever happens to the other tries. Silence ends with the timeout of the first try.
    async fn try_endpoint(
        &self,
        endpoint: &RpcEndpoint,
        method: &str,
        params: &RawValue,
    ) -> Result<JsonRpcAnswer, EndpointFailure> {
        let (began, limits) = (Instant::now(), self.state.limits);
        let (mut open, mut tries, mut retry_delay) = (FuturesUnordered::new(), 0, limits.retry_delay);
        let mut last = EndpointFailure::Broken;
        loop {
            let answer = if tries < MAX_TRIES {
                open.push(self.try_once(endpoint, method, params));
                tries += 1;
                timeout(retry_delay, open.next()).await
            } else {
                Ok(open.next().await)
            };
            match answer {
                Ok(Some(Ok(answer))) => return Ok(answer),
                Ok(Some(Err(EndpointFailure::Broken))) => {}
                // More tries are of no use, but one that is still open may be answered.
                Ok(Some(Err(failure))) if may_still_answer(began, limits.timeout) => {
                    (last, tries) = (failure, MAX_TRIES);
                }
                Ok(Some(Err(failure))) => return Err(failure),
                Ok(None) => return Err(last),
                Err(_) => retry_delay = retry_delay.saturating_mul(2),
            }
        }
    }

    async fn try_once(
        &self,
        endpoint: &RpcEndpoint,
        method: &str,
        params: &RawValue,
    ) -> Result<JsonRpcAnswer, EndpointFailure> {
        let id = self.state.next_id.fetch_add(1, Ordering::Relaxed);
        let mut request = CountedRequest {
            method,
            since: Instant::now(),
            error: Some("abandoned"),
        };
        let answer = endpoint
            .call(&self.state.http, self.state.limits, id, method, params)
            .await;
        request.error = match &answer {
            Ok(Ok(_)) => None,
            Ok(Err(_)) => Some("node_error"),
            Err(failure) => Some(failure.kind()),
        };
        answer
    }
}

/// One request, counted when it ends; dropping it counts one that was abandoned because another was answered first.
struct CountedRequest<'a> {
    method: &'a str,
    since: Instant,
    error: Option<&'static str>,
}

impl Drop for CountedRequest<'_> {
    fn drop(&mut self) {
        observe::request(self.method, self.since.elapsed(), self.error);
    }
}

/// A call to an endpoint. If the caller abandons it, the endpoint was too slow, whatever the timeout: otherwise callers
/// that wait for less than the timeout would ask a silent endpoint first again and again.
struct EndpointCall<'a> {
    endpoint: &'a RpcEndpoint,
    since: Instant,
    answered: bool,
}

impl<'a> EndpointCall<'a> {
    fn start(endpoint: &'a RpcEndpoint) -> Self {
        Self {
            endpoint,
            since: Instant::now(),
            answered: false,
        }
    }
}

impl EndpointCall<'_> {
    /// The caller waited long enough for the silence to count against the endpoint.
    fn was_too_slow(&self, now: Instant) -> bool {
        !self.answered && now - self.since >= TOO_SLOW
    }
}

/// Whether a try that is still open may bring the answer that a refusal did not.
fn may_still_answer(began: Instant, timeout: Duration) -> bool {
    began.elapsed() < timeout
}

impl Drop for EndpointCall<'_> {
    fn drop(&mut self) {
        let now = Instant::now();
        if self.was_too_slow(now) {
            self.endpoint.record_failure(now);
        }
    }
}

#[async_trait]
impl JsonRpcClient for Transport {
    type Error = TransportError;

    async fn request<T, R>(&self, method: &str, params: T) -> Result<R, Self::Error>
    where
        T: Debug + Serialize + Send + Sync,
        R: DeserializeOwned + Send,
    {
        let params =
            serde_json::value::to_raw_value(&JsonRpcParams(params)).map_err(TransportError::Decode)?;
        let result = self.call(method, &params).await?;
        serde_json::from_str(result.get()).map_err(TransportError::Decode)
    }
}

/// ethers passes `()` for "no parameters"; JSON-RPC expects a list.
struct JsonRpcParams<T>(T);

impl<T: Serialize> Serialize for JsonRpcParams<T> {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if std::mem::size_of::<T>() == 0 {
            return s.collect_seq(std::iter::empty::<()>());
        }
        self.0.serialize(s)
    }
}

#[cfg(test)]
mod tests;
