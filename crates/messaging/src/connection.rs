//! Two connections to the broker, one to publish and one to consume. Each opens when first needed and reopens after a
//! loss, with back-off. They are separate so that a blocked publisher never delays an acknowledgement.

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lapin::tcp::OwnedTLSConfig;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{Channel, Connection, ConnectionProperties};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::backoff::BACKOFF;
use crate::names::Service;
use crate::observe;

/// Seconds of silence after which either side closes the connection.
const HEARTBEAT_SECONDS: u16 = 10;
/// Time limit of one connection attempt, including TLS and login.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time limit of one request to the broker.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How to reach the broker, and which service connects.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// `amqp://` or `amqps://`, credentials included.
    pub url: SecretString,
    pub service: Service,
    /// The service's version, shown on parked messages.
    pub version: String,
    /// PEM of the authorities that may have signed the broker's certificate; `None` trusts the public ones.
    pub ca_pem: Option<String>,
}

/// The broker we connect to, without the password: safe to log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerEndpoint {
    pub host: String,
    pub port: u16,
    pub vhost: String,
    pub user: String,
    pub tls: bool,
}

impl fmt::Display for BrokerEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "amqps" } else { "amqp" };
        write!(
            f,
            "{scheme}://{}@{}:{}/{}",
            self.user, self.host, self.port, self.vhost
        )
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The setting is wrong. The error text never contains the URL.
    #[error("the broker URL is not amqp://user:password@host:port/vhost")]
    BadUrl,
    /// The broker is not reachable or refused the connection; try again after `retry_in`.
    #[error("no connection to the broker at {endpoint}")]
    Down {
        endpoint: Box<BrokerEndpoint>,
        retry_in: Duration,
        source: Option<lapin::Error>,
    },
    #[error("the broker refused {call}")]
    Amqp {
        call: &'static str,
        source: lapin::Error,
    },
    #[error("the broker did not answer {call} within {} s", CALL_TIMEOUT.as_secs())]
    TimedOut { call: &'static str },
    #[error("{name} is not declared on the broker; declare the topology first")]
    Missing { name: String, source: Box<BrokerError> },
}

/// A handle to the broker. Clones share the connections.
#[derive(Clone)]
pub struct Broker(Arc<BrokerInner>);

struct BrokerInner {
    uri: AMQPUri,
    endpoint: BrokerEndpoint,
    service: Service,
    version: String,
    ca_pem: Option<String>,
    publish: ManagedConnection,
    consume: ManagedConnection,
}

struct ManagedConnection {
    purpose: &'static str,
    state: Mutex<ManagedConnectionState>,
}

#[derive(Default)]
struct ManagedConnectionState {
    connection: Option<Arc<Connection>>,
    failures: u32,
    not_before: Option<Instant>,
}

impl Broker {
    /// Parses the settings; connects only when first used.
    pub fn new(config: BrokerConfig) -> Result<Self, BrokerError> {
        // The parser's own message may quote the URL, so it is dropped.
        let mut uri: AMQPUri = config
            .url
            .expose_secret()
            .parse()
            .map_err(|_| BrokerError::BadUrl)?;
        uri.query.heartbeat = Some(uri.query.heartbeat.unwrap_or(HEARTBEAT_SECONDS));
        let timeout_ms = u64::try_from(CONNECT_TIMEOUT.as_millis()).unwrap_or(u64::MAX);
        uri.query.connection_timeout = Some(uri.query.connection_timeout.unwrap_or(timeout_ms));
        let endpoint = BrokerEndpoint {
            host: uri.authority.host.clone(),
            port: uri.authority.port,
            vhost: uri.vhost.clone(),
            user: uri.authority.userinfo.username.clone(),
            tls: uri.scheme == AMQPScheme::AMQPS,
        };
        Ok(Self(Arc::new(BrokerInner {
            uri,
            endpoint,
            service: config.service,
            version: config.version,
            ca_pem: config.ca_pem,
            publish: ManagedConnection::new("publish"),
            consume: ManagedConnection::new("consume"),
        })))
    }

    pub fn endpoint(&self) -> &BrokerEndpoint {
        &self.0.endpoint
    }

    pub fn service(&self) -> Service {
        self.0.service
    }

    pub(crate) fn version(&self) -> &str {
        &self.0.version
    }

    /// Checks the publishing connection, and opens it if necessary. For health checks.
    pub async fn check(&self) -> Result<(), BrokerError> {
        self.connection(&self.0.publish).await.map(drop)
    }

    /// Closes both connections. The next use opens them again.
    pub async fn close(&self) {
        for managed in [&self.0.consume, &self.0.publish] {
            let live = managed.state.lock().await.connection.take();
            if let Some(connection) = live {
                let closed = connection.close(200, "bye".into());
                let _ = tokio::time::timeout(CONNECT_TIMEOUT, closed).await;
            }
        }
    }

    pub(crate) async fn publish_channel(&self) -> Result<Channel, BrokerError> {
        self.channel(&self.0.publish).await
    }

    pub(crate) async fn consume_channel(&self) -> Result<Channel, BrokerError> {
        self.channel(&self.0.consume).await
    }

    /// Runs one call to the broker with a time-out.
    pub(crate) async fn with_timeout<T>(
        &self,
        call: &'static str,
        future: impl Future<Output = lapin::Result<T>>,
    ) -> Result<T, BrokerError> {
        match tokio::time::timeout(CALL_TIMEOUT, future).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => Err(BrokerError::Amqp { call, source }),
            Err(_) => Err(BrokerError::TimedOut { call }),
        }
    }

    /// Closes a channel properly. Does nothing if the channel is already closed.
    pub(crate) async fn close_channel(&self, channel: &Channel) {
        if channel.status().connected() {
            let _ = self
                .with_timeout("channel.close", channel.close(200, "done".into()))
                .await;
        }
    }

    async fn channel(&self, managed: &ManagedConnection) -> Result<Channel, BrokerError> {
        let connection = self.connection(managed).await?;
        self.with_timeout("channel.open", connection.create_channel())
            .await
    }

    async fn connection(&self, managed: &ManagedConnection) -> Result<Arc<Connection>, BrokerError> {
        let mut state = managed.state.lock().await;
        if let Some(live) = state.connection.as_ref().filter(|c| c.status().connected()) {
            return Ok(live.clone());
        }
        state.connection = None;
        if let Some(retry_in) = state
            .not_before
            .and_then(|at| at.checked_duration_since(Instant::now()))
        {
            return Err(self.down_error(retry_in, None));
        }
        match self.connect(managed.purpose).await {
            Ok(connection) => {
                observe::connected(managed.purpose, "ok");
                tracing::info!(broker = %self.0.endpoint, purpose = managed.purpose, "broker connected");
                let live = Arc::new(connection);
                *state = ManagedConnectionState {
                    connection: Some(live.clone()),
                    ..ManagedConnectionState::default()
                };
                Ok(live)
            }
            Err(source) => {
                observe::connected(managed.purpose, "failed");
                let retry_in = BACKOFF.wait(state.failures);
                state.failures = state.failures.saturating_add(1);
                state.not_before = Some(Instant::now() + retry_in);
                Err(self.down_error(retry_in, source))
            }
        }
    }

    fn down_error(&self, retry_in: Duration, source: Option<lapin::Error>) -> BrokerError {
        BrokerError::Down {
            endpoint: Box::new(self.0.endpoint.clone()),
            retry_in,
            source,
        }
    }

    /// `Err(None)` is a time-out.
    async fn connect(&self, purpose: &str) -> Result<Connection, Option<lapin::Error>> {
        let name = format!("fiatrails/{}/{purpose}", self.0.service.name());
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let tls = OwnedTLSConfig {
            identity: None,
            cert_chain: self.0.ca_pem.clone(),
        };
        let runtime = lapin::runtime::default_runtime().map_err(Some)?;
        let connecting = Connection::connect_uri_with_config(self.0.uri.clone(), properties, tls, runtime);
        match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(result) => result.map_err(Some),
            Err(_) => Err(None),
        }
    }
}

impl fmt::Debug for Broker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Broker")
            .field("endpoint", &self.0.endpoint)
            .field("service", &self.0.service)
            .finish()
    }
}

impl ManagedConnection {
    fn new(purpose: &'static str) -> Self {
        Self {
            purpose,
            state: Mutex::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> BrokerConfig {
        BrokerConfig {
            url: url.into(),
            service: Service::Ops,
            version: "0".into(),
            ca_pem: None,
        }
    }

    #[test]
    fn the_password_is_never_shown() {
        let broker = Broker::new(config("amqp://u:canary-secret@localhost:5672/v")).unwrap();
        let shown = format!(
            "{broker:?} {} {:?}",
            broker.endpoint(),
            config("amqp://u:canary-secret@h/v")
        );
        assert!(!shown.contains("canary-secret"), "{shown}");
        let error = Broker::new(config("http://u:canary-secret@h")).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("canary-secret"));
    }

    #[tokio::test]
    async fn a_broker_that_is_down_is_an_error_with_a_retry_delay() {
        let broker = Broker::new(config("amqp://u:p@127.0.0.1:1/v")).unwrap();
        let first = broker.check().await.unwrap_err();
        assert!(
            matches!(first, BrokerError::Down { source: Some(_), .. }),
            "{first:?}"
        );
        let second = broker.check().await.unwrap_err();
        assert!(
            matches!(second, BrokerError::Down { source: None, .. }),
            "{second:?}"
        );
    }

    #[tokio::test]
    async fn tls_to_something_else_is_an_error() {
        // Also shows that TLS finds its cryptography without help from the process.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let answering = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, b"AMQP\0\0\x09\x01")
                .await
                .unwrap();
        });
        let broker = Broker::new(config(&format!("amqps://u:p@localhost:{port}/v"))).unwrap();
        assert!(broker.endpoint().tls);
        let error = broker.check().await.unwrap_err();
        assert!(
            matches!(error, BrokerError::Down { source: Some(_), .. }),
            "{error:?}"
        );
        answering.await.unwrap();
    }
}
