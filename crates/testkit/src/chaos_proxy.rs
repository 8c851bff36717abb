//! A TCP relay in front of a server. A test can cut, stall and resume it, and it can stop by itself at the moment when
//! certain bytes pass.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::{oneshot, watch},
    task::JoinHandle,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    /// No bytes pass; connections stay open, and new ones are accepted but get no answer.
    Stall,
    /// Open connections are reset and new ones are closed at once.
    Cut,
}

/// A connection ends if a cut happened since it started, even if the relay was resumed before it noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct LinkState {
    mode: Mode,
    cuts: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    ToServer,
    ToClient,
}

/// Which bytes stop the relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BytePattern {
    pub pattern: Vec<u8>,
    pub direction: Direction,
    /// Whether the bytes themselves are delivered (and nothing after them) or held back.
    pub passes: bool,
    /// Number of matches that pass first.
    pub skip: u32,
}

#[derive(Debug)]
struct Trap {
    bytes: BytePattern,
    caught: oneshot::Sender<()>,
}

/// Resolves when the bytes have come; the relay stalls from then on, until it is cut or resumed. If this is dropped, the
/// relay does not stall.
#[derive(Debug)]
pub struct PatternHit(oneshot::Receiver<()>);

impl PatternHit {
    pub async fn wait(&mut self) -> Result<()> {
        (&mut self.0)
            .await
            .context("the proxy is gone, or another trap was set")
    }
}

/// Relays to one upstream until dropped.
#[derive(Debug)]
pub struct ChaosProxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    upstream: String,
    line: watch::Sender<LinkState>,
    trap: Mutex<Option<Trap>>,
    tally: Mutex<Tally>,
}

/// Counts how often any of these patterns went to the server.
#[derive(Debug, Default)]
struct Tally {
    patterns: Vec<Vec<u8>>,
    count: u64,
}

impl ChaosProxy {
    /// `upstream` as `host:port`.
    pub async fn start(upstream: impl Into<String>) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("listen for the proxy")?;
        let addr = listener.local_addr()?;
        let shared = Arc::new(Shared {
            upstream: upstream.into(),
            line: watch::Sender::new(LinkState {
                mode: Mode::Pass,
                cuts: 0,
            }),
            trap: Mutex::default(),
            tally: Mutex::default(),
        });
        let relaying = shared.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if relaying.line.borrow().mode == Mode::Cut {
                    reset(client);
                    continue;
                }
                tokio::spawn(relay(client, relaying.clone()));
            }
        });
        Ok(Self {
            addr,
            shared,
            accepting,
        })
    }

    /// In front of the server of `url`; use [`Self::through`] to rewrite URLs.
    pub async fn before(url: &str) -> Result<Self> {
        let parsed = reqwest::Url::parse(url).context("URL of the proxied server")?;
        let host = parsed.host_str().context("the URL has no host")?;
        let port = parsed.port_or_known_default().context("the URL has no port")?;
        Self::start(format!("{host}:{port}")).await
    }

    /// The same URL with the address of this proxy.
    pub fn through(&self, url: &str) -> Result<String> {
        let parsed = reqwest::Url::parse(url).context("URL to rewrite")?;
        let port = parsed.port().context("the URL has no port")?;
        let host = parsed.host_str().context("the URL has no host")?;
        // Not by `set_port`: parsing would also normalise the path of an AMQP URL.
        Ok(url.replacen(&format!("{host}:{port}"), &self.addr.to_string(), 1))
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn cut(&self) {
        self.shared.line.send_modify(|line| {
            line.mode = Mode::Cut;
            line.cuts += 1;
        });
    }

    pub fn stall(&self) {
        self.shared.line.send_modify(|line| line.mode = Mode::Stall);
    }

    pub fn resume(&self) {
        self.shared.line.send_modify(|line| line.mode = Mode::Pass);
    }

    /// Stalls when these bytes come; only one pattern at a time. A cut discards the bytes that are held back.
    pub fn stall_at(&self, bytes: BytePattern) -> PatternHit {
        let (caught, catching) = oneshot::channel();
        *self.shared.trap() = Some(Trap { bytes, caught });
        PatternHit(catching)
    }

    /// Starts to count how often any of these patterns goes to the server.
    pub fn count(&self, patterns: Vec<Vec<u8>>) {
        *self.shared.tally() = Tally { patterns, count: 0 };
    }

    pub fn counted(&self) -> u64 {
        self.shared.tally().count
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.cut();
    }
}

impl Shared {
    fn trap(&self) -> MutexGuard<'_, Option<Trap>> {
        self.trap.lock()
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock()
    }

    /// Whether the relay stalls before these bytes go on (`Some(false)`), after them (`Some(true)`), or not. The first
    /// `old` bytes went on before.
    fn spring(&self, direction: Direction, seen: &[u8], old: usize) -> Option<bool> {
        let mut trap = self.trap();
        let bytes = &mut trap.as_mut()?.bytes;
        if bytes.direction != direction {
            return None;
        }
        let found = u32::try_from(new_matches(seen, old, &bytes.pattern)).unwrap_or(u32::MAX);
        if found <= bytes.skip {
            bytes.skip -= found;
            return None;
        }
        let sprung = trap.take()?;
        if sprung.caught.is_closed() {
            return None;
        }
        self.line.send_modify(|line| line.mode = Mode::Stall);
        // The waiting test may give up at this moment; it then cuts or resumes as usual.
        let _ = sprung.caught.send(());
        Some(sprung.bytes.passes)
    }

    fn note(&self, direction: Direction, seen: &[u8], old: usize) {
        if direction == Direction::ToServer {
            let mut tally = self.tally();
            let found: usize = tally
                .patterns
                .iter()
                .map(|pattern| new_matches(seen, old, pattern))
                .sum();
            tally.count += u64::try_from(found).unwrap_or(u64::MAX);
        }
    }

    fn longest_pattern(&self) -> usize {
        let trap = self.trap().as_ref().map_or(0, |trap| trap.bytes.pattern.len());
        let counted = self.tally().patterns.iter().map(Vec::len).max();
        trap.max(counted.unwrap_or(0))
    }
}

/// Number of matches that end in the new bytes.
fn new_matches(seen: &[u8], old: usize, pattern: &[u8]) -> usize {
    seen.windows(pattern.len())
        .enumerate()
        .filter(|(start, window)| *window == pattern && start + pattern.len() > old)
        .count()
}

async fn relay(client: TcpStream, shared: Arc<Shared>) {
    let begun = shared.line.borrow().cuts;
    let mut line = shared.line.subscribe();
    let Ok(server) = TcpStream::connect(&shared.upstream).await else {
        reset(client);
        return;
    };
    // Waiting for more bytes per packet would distort every latency measured through the proxy.
    drop(client.set_nodelay(true));
    drop(server.set_nodelay(true));
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    tokio::select! {
        () = pump(client_read, server_write, Direction::ToServer, &shared, begun) => {}
        () = pump(server_read, client_write, Direction::ToClient, &shared, begun) => {}
        _ = line.wait_for(|line| line.cuts != begun) => {}
    }
}

async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Direction,
    shared: &Shared,
    begun: u64,
) {
    let mut line = shared.line.subscribe();
    let mut buffer = vec![0; 16 * 1024];
    // The end of the previous bytes: a pattern may span two reads.
    let mut seen = Vec::new();
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let old = shared.longest_pattern().saturating_sub(1).min(seen.len());
        seen.drain(..seen.len() - old);
        seen.extend_from_slice(&buffer[..count]);
        shared.note(direction, &seen, old);
        let passes = shared.spring(direction, &seen, old) == Some(true);
        if !passes && line.wait_for(|line| line.mode != Mode::Stall).await.is_err() {
            return;
        }
        // Bytes that were written after a cut may be read before the relay notices the cut; they must not arrive.
        if line.borrow().cuts != begun {
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

/// Closes the connection with a reset, as a crash would.
fn reset(stream: TcpStream) {
    drop(stream.set_zero_linger());
    drop(stream);
}

#[cfg(test)]
mod tests;
