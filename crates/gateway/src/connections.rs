//! Ends connections on which no request was completed for too long.
//!
//! The HTTP library times only the first request's head on a connection; a client could drip the head of a second
//! one for ever.

use std::any::Any;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use actix_web::dev::Extensions;
use runtime::Stop;
use tokio::time::Instant;

/// How often idle connections are looked for.
const ROUND: Duration = Duration::from_secs(1);

type Plain = actix_web::rt::net::TcpStream;
type Tls = actix_tls::accept::rustls_0_23::TlsStream<Plain>;

/// One open connection. Lives in the connection's own data, so it ends with it.
#[derive(Debug)]
pub struct Connection {
    /// A second handle of the socket: whoever holds it can end the connection.
    socket: TcpStream,
    /// Requests being answered at this moment.
    busy: AtomicU32,
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
            busy: AtomicU32::new(0),
            idle_since: Mutex::new(Instant::now()),
        })
    }

    fn idle(&self) -> Option<Duration> {
        let since = *self.idle_since.lock().unwrap_or_else(PoisonError::into_inner);
        (self.busy.load(Ordering::Relaxed) == 0).then(|| since.elapsed())
    }
}

/// Held while a request is answered.
#[derive(Debug)]
pub struct Busy(Arc<Connection>);

impl Busy {
    pub fn on(connection: &Arc<Connection>) -> Self {
        connection.busy.fetch_add(1, Ordering::Relaxed);
        Self(connection.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        *self.0.idle_since.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All open connections.
#[derive(Debug, Default)]
pub struct Connections(Mutex<Vec<Weak<Connection>>>);

impl Connections {
    /// Notes a new connection; for the server's `on_connect`.
    pub fn note(&self, io: &dyn Any, data: &mut Extensions) {
        if let Some(connection) = Connection::of(io).map(Arc::new) {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(Arc::downgrade(&connection));
            data.insert(connection);
        }
    }

    /// Ends what was idle for longer than `patience`, until the stop.
    pub async fn watch(self: Arc<Self>, patience: Duration, stop: Stop) {
        while stop.sleep(ROUND).await {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|connection| {
                    let Some(connection) = connection.upgrade() else {
                        return false;
                    };
                    if connection.idle().is_some_and(|idle| idle > patience) {
                        // The peer may have been faster.
                        let _ = connection.socket.shutdown(Shutdown::Both);
                        return false;
                    }
                    true
                });
        }
    }
}
