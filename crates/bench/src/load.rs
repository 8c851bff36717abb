//! Open-loop load over kept-alive HTTP/1.1: every request has its due time, and its latency counts from there, so
//! a slow server cannot slow the clock that judges it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// One request, signed when it is due, since a signature's time must be fresh.
pub trait RequestSource: Send + Sync + 'static {
    fn request(&self, index: usize) -> Result<Request<Full<Bytes>>>;
}

/// How hard to push.
#[derive(Clone, Copy, Debug)]
pub struct LoadProfile {
    /// Requests per second.
    pub rate: u32,
    /// Requests in all.
    pub count: usize,
    pub connections: usize,
}

/// What came back.
#[derive(Debug, Default)]
pub struct LoadResult {
    /// Latency of each accepted request from its due time.
    pub latencies: Vec<Duration>,
    pub accepted: usize,
    /// Status (0: no answer) of each request that was not accepted.
    pub refused: Vec<u16>,
    pub elapsed: Duration,
}

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Sends every request at its due time over a fixed set of connections.
pub async fn run(
    authority: &str,
    source: Arc<dyn RequestSource>,
    profile: LoadProfile,
) -> Result<LoadResult> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut connections = Vec::with_capacity(profile.connections);
    for _ in 0..profile.connections {
        connections.push(connect(authority).await?);
    }
    let start = Instant::now();
    let workers: Vec<_> = connections
        .into_iter()
        .map(|connection| tokio::spawn(work(connection, source.clone(), next.clone(), start, profile)))
        .collect();
    let mut total = LoadResult::default();
    for worker in workers {
        let part = worker.await.context("a load worker panicked")??;
        total.latencies.extend(part.latencies);
        total.accepted += part.accepted;
        total.refused.extend(part.refused);
    }
    total.elapsed = start.elapsed();
    Ok(total)
}

async fn connect(authority: &str) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(authority)
        .await
        .with_context(|| format!("connecting to {authority}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender)
}

async fn work(
    mut connection: SendRequest<Full<Bytes>>,
    source: Arc<dyn RequestSource>,
    next: Arc<AtomicUsize>,
    start: Instant,
    profile: LoadProfile,
) -> Result<LoadResult> {
    let mut out = LoadResult::default();
    loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        if index >= profile.count {
            return Ok(out);
        }
        let nanos = u64::try_from(index)? * 1_000_000_000 / u64::from(profile.rate);
        let due = start + Duration::from_nanos(nanos);
        tokio::time::sleep_until(due).await;
        let request = source.request(index)?;
        let status = tokio::time::timeout(ANSWER_WITHIN, exchange(&mut connection, request)).await;
        match status {
            Ok(Ok(status)) if status.is_success() => {
                out.accepted += 1;
                out.latencies.push(due.elapsed());
            }
            Ok(Ok(status)) => out.refused.push(status.as_u16()),
            // The connection is gone; its worker's share goes to the others.
            _ => {
                out.refused.push(0);
                return Ok(out);
            }
        }
    }
}

async fn exchange(
    connection: &mut SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode> {
    connection.ready().await?;
    let answer = connection.send_request(request).await?;
    let status = answer.status();
    answer.into_body().collect().await?;
    Ok(status)
}

impl LoadResult {
    pub fn per_second(&self) -> f64 {
        ratio(self.accepted, 1) / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The latency below which `percent` of the accepted requests were answered.
    pub fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
        sorted.get(rank).copied().unwrap_or_default()
    }
}

/// A count as a figure to print.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a benchmark are far below 2^52, and only printed"
)]
pub fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_ranks() {
        let out = LoadResult {
            latencies: (1..=100).rev().map(Duration::from_millis).collect(),
            ..LoadResult::default()
        };
        assert_eq!(out.percentile(50), Duration::from_millis(50));
        assert_eq!(out.percentile(99), Duration::from_millis(99));
        assert_eq!(out.percentile(100), Duration::from_millis(100));
        assert_eq!(LoadResult::default().percentile(99), Duration::ZERO);
    }
}
