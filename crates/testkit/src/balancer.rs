//! A minimal TCP load balancer: new connections go, in turn, to the backends whose `/readyz` answers 200.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, Result};
use parking_lot::{Mutex, MutexGuard};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::http;

const POLL_EVERY: Duration = Duration::from_millis(50);

#[derive(Debug, Clone)]
struct Backend {
    /// `host:port`.
    addr: String,
    ready: bool,
}

type Backends = Arc<Mutex<Vec<Backend>>>;

/// Runs until dropped.
#[derive(Debug)]
pub struct Balancer {
    addr: SocketAddr,
    backends: Backends,
    tasks: [JoinHandle<()>; 2],
}

impl Balancer {
    /// In front of the backends at these `http://host:port`.
    pub async fn start(urls: &[String]) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let addr = listener.local_addr()?;
        let backends = Backends::default();
        for url in urls {
            add(&backends, url);
        }
        let asking = tokio::spawn(poll_readiness(http::client()?, backends.clone()));
        let accepting = tokio::spawn(accept(listener, backends.clone()));
        Ok(Self {
            addr,
            backends,
            tasks: [asking, accepting],
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Adds a backend.
    pub fn add(&self, url: &str) {
        add(&self.backends, url);
    }

    pub fn ready(&self) -> usize {
        lock(&self.backends)
            .iter()
            .filter(|backend| backend.ready)
            .count()
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn lock(backends: &Backends) -> MutexGuard<'_, Vec<Backend>> {
    backends.lock()
}

fn add(backends: &Backends, url: &str) {
    let addr = url.trim_start_matches("http://").to_owned();
    lock(backends).push(Backend { addr, ready: false });
}

async fn poll_readiness(http: reqwest::Client, backends: Backends) {
    loop {
        let known = lock(&backends).clone();
        for backend in known {
            let asked = http.get(format!("http://{}/readyz", backend.addr));
            let answer = asked.timeout(Duration::from_secs(2)).send().await;
            let ready = answer.is_ok_and(|answer| answer.status().is_success());
            for same in lock(&backends).iter_mut().filter(|b| b.addr == backend.addr) {
                same.ready = ready;
            }
        }
        crate::wait::pause(POLL_EVERY).await;
    }
}

async fn accept(listener: TcpListener, backends: Backends) {
    let turn = AtomicUsize::new(0);
    while let Ok((client, _)) = listener.accept().await {
        let ready: Vec<String> = lock(&backends)
            .iter()
            .filter(|backend| backend.ready)
            .map(|backend| backend.addr.clone())
            .collect();
        // No backend is ready: the connection is closed.
        let next = turn.fetch_add(1, Ordering::Relaxed);
        let Some(addr) = ready.get(next % ready.len().max(1)).cloned() else {
            continue;
        };
        tokio::spawn(async move { relay(client, &addr).await.ok() });
    }
}

async fn relay(mut client: TcpStream, addr: &str) -> Result<()> {
    let mut server = TcpStream::connect(addr).await.context("connect to the backend")?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    copy_bidirectional(&mut client, &mut server).await?;
    Ok(())
}
