//! A JSON-RPC proxy in front of a node that loses, delays and answers calls with false errors by a seed, can be cut off,
//! and can hold one request back while a test acts on its sender.

mod behind;
pub mod false_errors;
mod faults;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use parking_lot::{Mutex, MutexGuard};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
    task::JoinHandle,
};

pub use faults::{FaultCounts, FaultRates, LONGEST_DELAY};
use faults::{FaultPicker, Loss, RpcFault};

/// Longer than any client waits.
const SILENCE: Duration = Duration::from_mins(1);

const SEND: &str = "eth_sendRawTransaction";

/// Whether calls reach the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reachability {
    Open,
    /// Connections end at once: the node is down.
    Down,
    /// Requests are accepted and never answered: the network is partitioned.
    Silent,
    /// The node knows no block after this one, but still forwards transactions.
    Behind(u64),
}

/// In which direction a call is held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The node has not received the call.
    Request,
    /// The node has answered; the client does not know.
    Answer,
}

#[derive(Debug)]
struct Trap {
    method: String,
    side: Side,
    /// So many pass first.
    skip: u32,
    caught: oneshot::Sender<()>,
    freed: watch::Receiver<()>,
}

/// One request held back. When this is dropped, its connection ends without an answer.
#[derive(Debug)]
pub struct HeldCall {
    caught: oneshot::Receiver<()>,
    free: watch::Sender<()>,
}

impl HeldCall {
    /// Waits until the call is held.
    pub async fn caught(&mut self) -> Result<()> {
        (&mut self.caught).await.context("the proxy is gone")
    }

    /// Lets the call continue.
    pub fn pass(self) {
        self.free.send_replace(());
    }
}

#[derive(Debug)]
struct State {
    picker: FaultPicker,
    trap: Option<Trap>,
}

/// Relays to one node until dropped.
#[derive(Debug)]
pub struct RpcProxy {
    addr: SocketAddr,
    relay: Arc<Relay>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Relay {
    upstream: String,
    client: reqwest::Client,
    state: Mutex<State>,
    reach: watch::Sender<Reachability>,
}

/// The connection is to be closed without an answer.
#[derive(Debug)]
struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("lost on purpose")
    }
}

impl std::error::Error for Lost {}

impl RpcProxy {
    /// In front of the node at `upstream`, at first without any trouble.
    pub async fn start(upstream: &str, seed: u64) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("listen for the proxy")?;
        let addr = listener.local_addr()?;
        let relay = Arc::new(Relay {
            upstream: upstream.to_owned(),
            client: crate::http::client()?,
            state: Mutex::new(State {
                picker: FaultPicker::new(seed),
                trap: None,
            }),
            reach: watch::Sender::new(Reachability::Open),
        });
        let shared = relay.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let relay = shared.clone();
                let answer = service_fn(move |request| {
                    let relay = relay.clone();
                    async move { relay.pass(request).await }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer),
                );
            }
        });
        Ok(Self {
            addr,
            relay,
            accepting,
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub fn set(&self, faults: FaultRates) {
        self.relay.lock().picker.faults = faults;
    }

    pub fn reach(&self, reach: Reachability) {
        self.relay.reach.send_replace(reach);
    }

    pub fn made(&self) -> FaultCounts {
        self.relay.lock().picker.made
    }

    /// Holds the next request of this method back, after `skip` others. One at a time.
    pub fn hold(&self, method: &str, side: Side, skip: u32) -> HeldCall {
        let ((caught, catching), (free, freed)) = (oneshot::channel(), watch::channel(()));
        self.relay.lock().trap = Some(Trap {
            method: method.to_owned(),
            side,
            skip,
            caught,
            freed,
        });
        HeldCall {
            caught: catching,
            free,
        }
    }
}

async fn lose(loss: Loss) -> Lost {
    if loss == Loss::Silent {
        crate::wait::pause(SILENCE).await;
    }
    Lost
}

impl Drop for RpcProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Relay {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Lost> {
        let body = request.into_body().collect().await.map_err(|_| Lost)?.to_bytes();
        let call: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        let method = call["method"].as_str().unwrap_or_default();
        if let Reachability::Behind(head) = self.wait_until_reachable().await? {
            return self.as_of(head, call).await;
        }
        self.spring(method, Side::Request).await?;
        let fault = self.lock().picker.draw(method == SEND);
        match fault {
            RpcFault::LoseRequest(loss) => return Err(lose(loss).await),
            RpcFault::Refuse(status) => return Ok(answer(status, Bytes::from_static(b"busy"))),
            RpcFault::FalseErrorInstead(text) => return Ok(refusal(&call["id"], text)),
            RpcFault::Delay(by) => crate::wait::pause(by).await,
            RpcFault::LoseAnswer(_) | RpcFault::FalseErrorAfter(_) | RpcFault::None => {}
        }
        let (status, answer_bytes) = self.forward(body).await?;
        self.spring(method, Side::Answer).await?;
        match fault {
            RpcFault::LoseAnswer(loss) => Err(lose(loss).await),
            RpcFault::FalseErrorAfter(text) => Ok(refusal(&call["id"], text)),
            _ => Ok(answer(status, answer_bytes)),
        }
    }

    async fn wait_until_reachable(&self) -> Result<Reachability, Lost> {
        let mut reach = self.reach.subscribe();
        let now = *reach.borrow_and_update();
        if matches!(now, Reachability::Open | Reachability::Behind(_)) {
            return Ok(now);
        }
        self.lock().picker.made.cut_off += 1;
        if now == Reachability::Silent {
            // Its sender may have given up long before.
            reach
                .wait_for(|reach| *reach != Reachability::Silent)
                .await
                .map_err(|_| Lost)?;
        }
        Err(Lost)
    }

    /// Falls into the trap if this request is the one; then nothing is ever answered.
    async fn spring(&self, method: &str, side: Side) -> Result<(), Lost> {
        let trap = {
            let mut state = self.lock();
            match &mut state.trap {
                Some(trap) if trap.method == method && trap.side == side => match trap.skip.checked_sub(1) {
                    Some(left) => {
                        trap.skip = left;
                        None
                    }
                    None => state.trap.take(),
                },
                _ => None,
            }
        };
        let Some(mut trap) = trap else { return Ok(()) };
        if trap.caught.send(()).is_ok() {
            // An error: the holder is gone, and did not let it pass.
            return trap.freed.changed().await.map_err(|_| Lost);
        }
        Ok(())
    }

    async fn forward(&self, body: Bytes) -> Result<(StatusCode, Bytes), Lost> {
        let request = self
            .client
            .post(&self.upstream)
            .header("content-type", "application/json")
            .timeout(Duration::from_secs(30))
            .body(body);
        let reply = request.send().await.map_err(|_| Lost)?;
        let status = reply.status();
        Ok((status, reply.bytes().await.map_err(|_| Lost)?))
    }
}

fn refusal(id: &Value, text: &str) -> Response<Full<Bytes>> {
    let error = json!({"jsonrpc": "2.0", "id": id, "error": {"code": -32000, "message": text}});
    answer(StatusCode::OK, error.to_string().into())
}

fn answer(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let json = hyper::header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests;
