//! A TCP relay in front of a server, which can be cut, stalled and mended in the middle of a test.

use std::{net::SocketAddr, sync::Arc};

use anyhow::{Context, Result};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf, tcp::OwnedWriteHalf},
    sync::watch,
    task::JoinHandle,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    /// Bytes stop; connections stay open and new ones are accepted and then hear nothing.
    Stall,
    /// Open connections are reset and new ones are closed at once.
    Cut,
}

/// Relays to one upstream until dropped.
#[derive(Debug)]
pub struct ChaosProxy {
    addr: SocketAddr,
    mode: watch::Sender<Mode>,
    accepting: JoinHandle<()>,
}

impl ChaosProxy {
    /// `upstream` as `host:port`.
    pub async fn start(upstream: impl Into<String>) -> Result<Self> {
        let upstream: Arc<str> = upstream.into().into();
        let listener = TcpListener::bind("127.0.0.1:0")
            .await
            .context("listen for the proxy")?;
        let addr = listener.local_addr()?;
        let (mode, watching) = watch::channel(Mode::Pass);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *watching.borrow() == Mode::Cut {
                    reset(client);
                    continue;
                }
                tokio::spawn(relay(client, Arc::clone(&upstream), watching.clone()));
            }
        });
        Ok(Self {
            addr,
            mode,
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

    /// The same URL, by way of this proxy.
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
        self.mode.send_replace(Mode::Cut);
    }

    pub fn stall(&self) {
        self.mode.send_replace(Mode::Stall);
    }

    pub fn resume(&self) {
        self.mode.send_replace(Mode::Pass);
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        self.accepting.abort();
        self.mode.send_replace(Mode::Cut);
    }
}

async fn relay(client: TcpStream, upstream: Arc<str>, mode: watch::Receiver<Mode>) {
    let Ok(server) = TcpStream::connect(&*upstream).await else {
        reset(client);
        return;
    };
    // A relay that waits for more bytes per packet would distort every latency measured through it.
    drop(client.set_nodelay(true));
    drop(server.set_nodelay(true));
    let (client_read, client_write) = client.into_split();
    let (server_read, server_write) = server.into_split();
    tokio::select! {
        () = pump(client_read, server_write, mode.clone()) => {}
        () = pump(server_read, client_write, mode.clone()) => {}
        () = until(mode, Mode::Cut) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut mode: watch::Receiver<Mode>) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        if mode.wait_for(|mode| *mode != Mode::Stall).await.is_err() {
            return;
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn until(mut mode: watch::Receiver<Mode>, wanted: Mode) {
    drop(mode.wait_for(|mode| *mode == wanted).await);
}

/// Closes with a reset instead of a polite end, as a crash would.
fn reset(stream: TcpStream) {
    drop(stream.set_zero_linger());
    drop(stream);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn echo_server() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    tokio::io::copy(&mut read, &mut write).await.ok();
                });
            }
        });
        addr
    }

    async fn echoes(stream: &mut TcpStream) -> bool {
        let talk = async {
            stream.write_all(b"x").await?;
            stream.read_exact(&mut [0]).await
        };
        matches!(
            tokio::time::timeout(Duration::from_millis(300), talk).await,
            Ok(Ok(_))
        )
    }

    #[tokio::test]
    async fn passes_stalls_and_goes_on() {
        let proxy = ChaosProxy::start(echo_server().await).await.unwrap();
        let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
        assert!(echoes(&mut stream).await);
        proxy.stall();
        assert!(!echoes(&mut stream).await);
        proxy.resume();
        let mut late = [0];
        stream.read_exact(&mut late).await.unwrap();
        assert!(echoes(&mut stream).await);
    }

    #[tokio::test]
    async fn a_cut_ends_open_connections_and_refuses_new_ones_until_mended() {
        let proxy = ChaosProxy::start(echo_server().await).await.unwrap();
        let mut open = TcpStream::connect(proxy.addr()).await.unwrap();
        assert!(echoes(&mut open).await);
        proxy.cut();
        assert!(!matches!(open.read(&mut [0]).await, Ok(1..)));
        let mut fresh = TcpStream::connect(proxy.addr()).await.unwrap();
        assert!(!echoes(&mut fresh).await);
        proxy.resume();
        let mut mended = TcpStream::connect(proxy.addr()).await.unwrap();
        assert!(echoes(&mut mended).await);
    }

    #[tokio::test]
    async fn urls_are_rewritten_in_place() {
        let proxy = ChaosProxy::start("127.0.0.1:5").await.unwrap();
        let through = proxy.through("amqp://u:p@127.0.0.1:5672/%2f").unwrap();
        assert_eq!(through, format!("amqp://u:p@{}/%2f", proxy.addr()));
    }
}
