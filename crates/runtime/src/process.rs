//! The common base of every service: database, broker, keys, health, admin port and shutdown, wired up once.

use std::error::Error;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use domain::clock::{Clock, IdSource, SystemSource};
use messaging::{Broker, BrokerConfig, BrokerError, ConsumerParts, Opener, Publisher, Sealer, Service};
use storage::{Outbox, Pool, PoolConfig, StorageError};

use crate::database_login::DatabaseLogin;
use crate::halts::Halts;
use crate::health::Health;
use crate::key_uses::KeyUses;
use crate::keys::{KeyDirectory, KeyError};
use crate::lifecycle::{LifecycleError, Tasks, stop_on_signals};
use crate::metrics::MetricsError;
use crate::periodic::Periodic;
use crate::ready::ListenAddresses;
use crate::relay::{Relay, RelayNotifier};
use crate::settings::{ServiceSettings, SettingError, Settings};
use crate::stop::Stop;
use crate::telemetry::TelemetryError;
use crate::{admin, metrics as recorder, observe, telemetry};

/// Maximum offset from the database's clock at which the process is still ready (docs/PROTOCOL.md).
const MAX_CLOCK_OFFSET_SECONDS: f64 = 2.0;
const READY_POLL: Duration = Duration::from_millis(100);
const KEYS_PERIOD: Duration = Duration::from_secs(2);
const KEY_USES_PERIOD: Duration = Duration::from_secs(10);
const HALTS_PERIOD: Duration = Duration::from_secs(1);
const LOGIN_PERIOD: Duration = Duration::from_secs(2);
const BACKLOG_PERIOD: Duration = Duration::from_secs(2);

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    Keys(#[from] KeyError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("the admin port cannot be bound")]
    Admin(#[source] std::io::Error),
    /// A part that only one service has.
    #[error("{part} cannot be built")]
    Part {
        part: &'static str,
        source: Box<dyn Error + Send + Sync>,
    },
}

impl StartError {
    /// The error of a part that only one service has.
    pub fn part(part: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Part {
            part,
            source: source.into(),
        }
    }
}

/// The shared parts of a service. A service spawns its own tasks on `tasks`, then runs the process.
#[derive(Debug)]
pub struct Process {
    pub settings: Settings,
    pub pool: Pool,
    pub broker: Broker,
    pub publisher: Publisher,
    pub keys: KeyDirectory,
    pub halts: Arc<Halts>,
    pub health: Health,
    pub addresses: ListenAddresses,
    pub tasks: Tasks,
}

impl Process {
    /// Reads the keys, creates the pool and the broker handle (both connect when first used), binds the admin port and
    /// starts the tasks that all services have.
    pub fn of<S: ServiceSettings>(service: &S) -> Result<Self, StartError> {
        Self::build(service.shared(), S::SERVICE)
    }

    fn build(settings: Settings, service: Service) -> Result<Self, StartError> {
        let collector = settings.trace.collector()?;
        telemetry::install(service.name(), &settings.log, collector.as_ref())?;
        let recorder = recorder::install()?;
        let keys = KeyDirectory::open(&settings.keys_dir)?;
        let mut login = PoolConfig::new(settings.database.database_url.value().clone(), service.name());
        login.max_size = settings.database_connections;
        login.idle_in_transaction = settings
            .database_idle_in_transaction
            .unwrap_or(login.idle_in_transaction);
        let broker = Broker::new(BrokerConfig {
            url: settings.broker.amqp_url.value().clone(),
            service,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ca_pem: settings.broker.amqp_ca_pem.clone(),
        })?;
        let mut tasks = Tasks::new(Stop::new());
        let (health, listening) = (Health::default(), ListenAddresses::default());
        let (addr, server) =
            admin::bind(settings.admin, health.clone(), recorder.clone()).map_err(StartError::Admin)?;
        listening.record("admin", addr);
        let (handle, stop) = (server.handle(), tasks.stop());
        tasks.spawn("admin stop", async move {
            stop.requested().await;
            handle.stop(true).await;
        });
        tasks.spawn_fallible("admin port", server);
        recorder::maintain(recorder, &mut tasks);
        let reloaded = keys.clone();
        tasks.every("keys", KEYS_PERIOD, move || {
            let keys = reloaded.clone();
            async move { keys.reload().await.map(drop) }
        });
        let pool = follow_login(&mut tasks, &settings, login)?;
        if let Some(uses) = KeyUses::of(service, keys.pipeline(), pool.clone()) {
            tasks.every("key uses", KEY_USES_PERIOD, uses);
        }
        let halts = Arc::new(Halts::default());
        let refreshed = (halts.clone(), pool.clone());
        tasks.every("halts", HALTS_PERIOD, move || {
            let (halts, pool) = refreshed.clone();
            async move { halts.refresh(&pool).await }
        });
        let process = Self {
            publisher: Publisher::new(&broker),
            settings,
            pool,
            broker,
            keys,
            halts,
            health,
            addresses: listening,
            tasks,
        };
        process.add_checks(service);
        Ok(process)
    }

    /// Creates another pool, which also follows login changes.
    pub fn pool(&mut self, config: PoolConfig) -> Result<Pool, StorageError> {
        follow_login(&mut self.tasks, &self.settings, config)
    }

    pub fn stop(&self) -> Stop {
        self.tasks.stop()
    }

    pub fn clock(&self) -> Arc<dyn Clock> {
        Arc::new(SystemSource)
    }

    pub fn ids(&self) -> Arc<dyn IdSource> {
        Arc::new(SystemSource)
    }

    pub fn sealer(&self) -> Sealer {
        Sealer::new(self.keys.pipeline())
    }

    pub fn opener(&self) -> Opener {
        Opener::new(self.keys.pipeline())
    }

    pub fn consumer_parts(&self) -> ConsumerParts {
        ConsumerParts {
            broker: self.broker.clone(),
            publisher: self.publisher.clone(),
            opener: self.opener(),
            retry: self.settings.limits.policy.retry.clone(),
            clock: self.clock(),
        }
    }

    /// Starts `workers` relays of an outbox. Returns the notifier that wakes them.
    pub fn relay(&mut self, outbox: Outbox, workers: usize) -> RelayNotifier {
        let relay = Relay::new(outbox, self.pool.clone(), self.publisher.clone());
        for _ in 0..workers.max(1) {
            self.tasks
                .spawn("outbox relay", relay.clone().run(self.tasks.stop()));
        }
        let wake = relay.notifier();
        self.every("outbox gauge", BACKLOG_PERIOD, move || {
            let relay = relay.clone();
            async move { relay.observe().await }
        });
        wake
    }

    /// Repeats a task until the stop: at once, then `period` after each end. Metrics show when it last succeeded.
    pub fn every(&mut self, name: &'static str, period: Duration, task: impl Periodic) {
        self.tasks.every(name, period, task);
    }

    /// Drains, then stops softly, on SIGTERM or SIGINT.
    pub fn stop_on_signals(&self) -> Result<(), LifecycleError> {
        stop_on_signals(&self.tasks.stop(), self.settings.drain)
    }

    /// Writes the ready file once every check passes, and runs until the stop.
    pub async fn run_until_stopped(mut self) -> Result<(), LifecycleError> {
        let stop = self.tasks.stop();
        let announce = announce_readiness(
            self.health.clone(),
            self.addresses.clone(),
            self.settings.ready_file.clone(),
            stop.clone(),
        );
        self.tasks.spawn("readiness", announce);
        let result = self.tasks.run().await;
        self.broker.close().await;
        self.pool.close();
        tracing::info!("stopped");
        telemetry::flush().await;
        result
    }

    fn add_checks(&self, service: Service) {
        let stop = self.stop();
        self.health.add("staying", move || {
            let draining = stop.is_draining();
            ready(if draining {
                Err("stopping".to_owned())
            } else {
                Ok(())
            })
        });
        let pool = self.pool.clone();
        self.health.add("database", move || {
            let pool = pool.clone();
            async move { check_clock(&pool).await }
        });
        let broker = self.broker.clone();
        let check = move || {
            let broker = broker.clone();
            async move { broker.check().await.map_err(|error| domain::error_chain(&error)) }
        };
        if service == Service::Gateway {
            // What the gateway accepts is durable in its outbox and is sent when the broker is back.
            self.health.add_optional("broker", check);
        } else {
            self.health.add("broker", check);
        }
    }
}

fn follow_login(tasks: &mut Tasks, settings: &Settings, config: PoolConfig) -> Result<Pool, StorageError> {
    let pool = Pool::new(&config)?;
    if let Some(file) = settings.database.database_url.file() {
        let login = DatabaseLogin::new(file.to_owned(), config, pool.clone());
        tasks.every("database login", LOGIN_PERIOD, login);
    }
    Ok(pool)
}

/// Checks that the database is reachable and that its clock is close to ours.
async fn check_clock(pool: &Pool) -> Result<(), String> {
    let asked = async {
        let client = pool.get().await?;
        let before = SystemSource.now();
        let theirs = storage::clock::now(&client).await?;
        let after = SystemSource.now();
        Ok::<_, StorageError>({
            let middle: time::OffsetDateTime = before + (after - before) / 2_i32;
            (middle - theirs).as_seconds_f64()
        })
    };
    let offset = asked.await.map_err(|error| domain::error_chain(&error))?;
    observe::CLOCK_OFFSET.set([], offset);
    if offset.abs() > MAX_CLOCK_OFFSET_SECONDS {
        return Err(format!("our clock is {offset:.1} s off the database's"));
    }
    Ok(())
}

async fn announce_readiness(
    health: Health,
    listening: ListenAddresses,
    file: Option<std::path::PathBuf>,
    stop: Stop,
) {
    let mut last = None;
    loop {
        let report = health.report().await;
        if report.ready {
            break;
        }
        if last.as_ref() != Some(&report) {
            tracing::warn!(checks = ?report.checks, "not ready yet");
        }
        last = Some(report);
        if !stop.sleep(READY_POLL).await {
            return;
        }
    }
    tracing::info!("ready");
    if let Some(file) = file
        && let Err(error) = listening.write(&file)
    {
        tracing::error!(file = %file.display(), %error, "the ready file cannot be written");
    }
    stop.requested().await;
}
