//! Closes connections on which no request was completed for too long.
//!
//! The HTTP library limits the time only for the first request's head on a connection, so a client could send the head
//! of a second request slowly for ever.

use std::any::Any;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use actix_web::dev::Extensions;
use parking_lot::Mutex;
use tokio::time::Instant;

type Plain = actix_web::rt::net::TcpStream;
type Tls = actix_tls::accept::rustls_0_23::TlsStream<Plain>;

/// One open connection. It is stored in the connection's own data, so it is dropped with the connection.
#[derive(Debug)]
pub struct Connection {
    /// A second handle of the socket, used to close the connection.
    socket: TcpStream,
    /// Number of requests that are being answered.
    active_requests: AtomicU32,
    idle_since: Mutex<Instant>,
}

impl Connection {
    fn of(io: &dyn Any) -> Option<Self> {
        let plain = io
            .downcast_ref::<Plain>()
            .or_else(|| Some(io.downcast_ref::<Tls>()?.get_ref().0))?;
        let socket = plain.as_fd().try_clone_to_owned().ok()?;
        Some(Self {
            socket: socket.into(),
            active_requests: AtomicU32::new(0),
            idle_since: Mutex::new(Instant::now()),
        })
    }

    fn idle_for(&self) -> Option<Duration> {
        let since = *self.idle_since.lock();
        (self.active_requests.load(Ordering::Relaxed) == 0).then(|| since.elapsed())
    }
}

/// Held while a request is being answered, so that its connection does not count as idle.
#[derive(Debug)]
pub struct RequestGuard(Arc<Connection>);

impl RequestGuard {
    pub fn on(connection: &Arc<Connection>) -> Self {
        connection.active_requests.fetch_add(1, Ordering::Relaxed);
        Self(connection.clone())
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        *self.0.idle_since.lock() = Instant::now();
        self.0.active_requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All open connections.
#[derive(Debug, Default)]
pub struct Connections(Mutex<Vec<Weak<Connection>>>);

impl Connections {
    /// Tracks a new connection. For the server's `on_connect`.
    pub fn track(&self, io: &dyn Any, data: &mut Extensions) {
        if let Some(connection) = Connection::of(io).map(Arc::new) {
            self.0.lock().push(Arc::downgrade(&connection));
            data.insert(connection);
        }
    }

    /// Closes connections that are idle for longer than `max_idle`.
    pub fn close_idle(&self, max_idle: Duration) {
        self.0.lock().retain(|connection| {
            let Some(connection) = connection.upgrade() else {
                return false;
            };
            if connection.idle_for().is_some_and(|idle| idle > max_idle) {
                // Fails if the peer has closed the connection meanwhile.
                let _ = connection.socket.shutdown(Shutdown::Both);
                return false;
            }
            true
        });
    }
}
