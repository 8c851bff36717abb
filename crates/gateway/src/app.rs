//! Builds the gateway from its settings.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App as HttpApp, HttpServer, web};
use domain::signature::HmacSecret;
use messaging::Service;
use parking_lot::Mutex;
use ring::rand::{SecureRandom as _, SystemRandom};
use runtime::lifecycle::LifecycleError;
use runtime::process::StartError;
use runtime::relay::RelayNotifier;
use runtime::{Process, SettingError};
use storage::halts::HaltScope;
use storage::{Outbox, Pool, PoolConfig, StorageError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::auth::SignatureVerifier;
use crate::connections::Connections;
use crate::heartbeat::HeartbeatWatch;
use crate::intake::IntakeLimits;
use crate::intake::intents::IntentIntake;
use crate::intake::reports::ReportIntake;
use crate::keys::LiveKeys;
use crate::redrive::Redrive;
use crate::settings::GatewaySettings;
use crate::state::{Gateway, Limiter};
use crate::tls::{self, TlsError};
use crate::{observe, routes, upkeep};

/// How long to wait for an idempotency key that another gateway has locked (docs/IDEMPOTENCY.md).
const LOCK_TIMEOUT: Duration = Duration::from_millis(250);
/// Time limit of one intake statement, so that a callback is answered within the webhook's time-out.
const INTAKE_STATEMENT: Duration = Duration::from_millis(2500);
/// How long an idle connection stays open; a stop waits for it.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Seconds that running requests get after the soft stop.
const DRAIN: u64 = 12;
const RELAYS: usize = 2;

#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Setting(#[from] SettingError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("the API port cannot be bound")]
    Bind(#[source] std::io::Error),
    #[error("the machine gives no randomness")]
    Randomness,
}

/// A listening gateway.
#[derive(Debug)]
pub struct App {
    process: Process,
}

impl App {
    /// The bound address of the API (`api`) or the admin port (`admin`).
    pub fn addr(&self, role: &str) -> Option<std::net::SocketAddr> {
        self.process.addresses.addr(role)
    }

    pub fn stop(&self) -> runtime::Stop {
        self.process.stop()
    }

    pub fn stop_on_signals(&self) -> Result<(), LifecycleError> {
        self.process.stop_on_signals()
    }

    pub async fn run_until_stopped(self) -> Result<(), LifecycleError> {
        self.process.run_until_stopped().await
    }
}

/// Binds the ports and starts all tasks. Must be called inside a tokio runtime.
pub fn build(settings: &GatewaySettings) -> Result<App, BuildError> {
    let mut process = Process::build(settings.shared.clone(), Service::Gateway)?;
    meter::register(observe::METRICS);
    let keys = Arc::new(LiveKeys::default());
    let relay = process.relay(Outbox::Gateway, RELAYS);
    let closed = CancellationToken::new();
    let intake_pool = process.pool(intake_pool(settings))?;
    let intents = spawn_intents(&mut process, settings, &intake_pool, &keys, &relay, &closed);
    let reports = spawn_reports(&mut process, settings, &intake_pool, &relay, &closed);
    let depths = spawn_upkeep(&mut process, settings, &keys, &relay);
    let (executor, reading) = HeartbeatWatch::follow(process.pool.clone(), process.stop());
    process.tasks.spawn("executor's heartbeat", reading);
    add_health_checks(&process, executor.clone(), keys.clone());
    let gateway = web::Data::new(Gateway {
        policy: settings.shared.limits.policy.clone(),
        escrow: settings.contracts.escrow,
        treasury: settings.contracts.treasury,
        bounds: settings.bounds,
        clock: process.clock(),
        ids: process.ids(),
        verifier: SignatureVerifier::new(decoy()?, settings.shared.limits.policy.windows.freshness_seconds),
        keys,
        sealer: process.sealer(),
        pool: process.pool.clone(),
        intents,
        reports,
        limiter: Limiter::new(&settings.bounds),
        health: process.health.clone(),
        stop: process.stop(),
        executor,
        depths,
    });
    let connections = Arc::new(Connections::default());
    let max_idle = KEEP_ALIVE + settings.bounds.header_timeout;
    process
        .tasks
        .spawn("connections", connections.clone().watch(max_idle, process.stop()));
    let (addr, server) = bind(settings, gateway, connections)?;
    process.addresses.record("api", addr);
    let (handle, stop) = (server.handle(), process.stop());
    process.tasks.spawn("api stop", async move {
        stop.requested().await;
        handle.stop(true).await;
        // Only now can no request push to the intake any more.
        closed.cancel();
    });
    process.tasks.spawn_fallible("api", server);
    Ok(App { process })
}

/// The gateway is ready only while an executor reports and once the rows of keys were read.
fn add_health_checks(process: &Process, executor: HeartbeatWatch, keys: Arc<LiveKeys>) {
    process
        .health
        .add("executor", move || std::future::ready(executor.check()));
    process.health.add("keys", move || {
        let complete = keys.snapshot().is_complete();
        async move {
            if complete {
                Ok(())
            } else {
                Err("rows of keys were not read yet".to_owned())
            }
        }
    });
}

/// The pool of the intake, with short lock and statement time-outs.
fn intake_pool(settings: &GatewaySettings) -> PoolConfig {
    let mut config = PoolConfig::new(
        settings.shared.database.database_url.value().clone(),
        "gateway intake",
    );
    // One connection per worker, and some for the requests of a failed batch that run one by one.
    config.max_size = 2 * settings.bounds.intake_workers + 4;
    config.lock_timeout = LOCK_TIMEOUT;
    config.statement_timeout = INTAKE_STATEMENT;
    config.idle_in_transaction = INTAKE_STATEMENT;
    config.connect_timeout = Duration::from_secs(2);
    config
}

fn spawn_intents(
    process: &mut Process,
    settings: &GatewaySettings,
    pool: &Pool,
    keys: &Arc<LiveKeys>,
    relay: &RelayNotifier,
    closed: &CancellationToken,
) -> Arc<IntentIntake> {
    let policy = &settings.shared.limits.policy;
    let rules = IntakeLimits {
        window_seconds: seconds(policy.windows.idempotency_seconds).into(),
        payment_seconds: seconds(policy.windows.payment_seconds),
        daily_limit: policy.mint.daily_limit_per_user,
    };
    let intake = Arc::new(IntentIntake::new(
        pool.clone(),
        rules,
        policy.mint.max_unpaid,
        process.halts.gate(HaltScope::Intake),
        keys.clone(),
        relay.clone(),
    ));
    for _ in 0..settings.bounds.intake_workers {
        process
            .tasks
            .spawn("intent intake", intake.clone().run_worker(closed.clone()));
    }
    let count = intake.clone().watch_unpaid(process.pool.clone(), process.stop());
    process.tasks.spawn("unpaid count", count);
    intake
}

fn spawn_reports(
    process: &mut Process,
    settings: &GatewaySettings,
    pool: &Pool,
    relay: &RelayNotifier,
    closed: &CancellationToken,
) -> Arc<ReportIntake> {
    let intake = Arc::new(ReportIntake::new(pool.clone(), relay.clone()));
    for _ in 0..settings.bounds.intake_workers {
        process
            .tasks
            .spawn("report intake", intake.clone().run_worker(closed.clone()));
    }
    intake
}

fn spawn_upkeep(
    process: &mut Process,
    settings: &GatewaySettings,
    keys: &Arc<LiveKeys>,
    relay: &RelayNotifier,
) -> watch::Receiver<Option<upkeep::Depths>> {
    let windows = &settings.shared.limits.policy.windows;
    let (pool, stop) = (process.pool.clone(), process.stop());
    let follow = upkeep::follow_keys(keys.clone(), process.keys.clone(), pool.clone(), stop.clone());
    let uses = upkeep::record_uses(keys.clone(), process.clock(), pool.clone(), stop.clone());
    let purge = upkeep::purge(
        pool.clone(),
        seconds(windows.idempotency_seconds).into(),
        stop.clone(),
    );
    let redrive = Redrive {
        pool,
        keys: process.keys.clone(),
        sealer: process.sealer(),
        clock: process.clock(),
        ids: process.ids(),
        relay: relay.clone(),
        after_seconds: seconds(windows.redrive_seconds),
        reported: Mutex::default(),
    };
    let (depths, shown) = watch::channel(None);
    let broker = process.broker.clone();
    process.tasks.spawn("keys and rows", follow);
    process.tasks.spawn("last uses", uses);
    process.tasks.spawn("purge", purge);
    process.tasks.spawn("re-drive", redrive.run(stop.clone()));
    process
        .tasks
        .spawn("queue depths", upkeep::follow_depths(broker, depths, stop));
    shown
}

fn bind(
    settings: &GatewaySettings,
    gateway: web::Data<Gateway>,
    connections: Arc<Connections>,
) -> Result<(std::net::SocketAddr, Server), BuildError> {
    let listener = TcpListener::bind(settings.api.listen).map_err(BuildError::Bind)?;
    let addr = listener.local_addr().map_err(BuildError::Bind)?;
    let server = HttpServer::new(move || HttpApp::new().app_data(gateway.clone()).configure(routes::mount))
        .on_connect(move |io, data| connections.track(io, data))
        .workers(settings.bounds.http_workers)
        .backlog(4096)
        .keep_alive(KEEP_ALIVE)
        .client_request_timeout(settings.bounds.header_timeout)
        .client_disconnect_timeout(Duration::from_secs(2))
        .tls_handshake_timeout(settings.bounds.header_timeout)
        .shutdown_timeout(DRAIN)
        .disable_signals();
    let server = match &settings.api.tls() {
        None => server.listen(listener),
        Some(files) => server.listen_rustls_0_23(listener, tls::load(files)?),
    };
    Ok((addr, server.map_err(BuildError::Bind)?.run()))
}

/// A random secret that replaces the secret of an unknown key, so that verification takes the same time.
fn decoy() -> Result<HmacSecret, BuildError> {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| BuildError::Randomness)?;
    HmacSecret::from_bytes(&bytes).map_err(|_| BuildError::Randomness)
}

/// Windows are far below 136 years; a longer one is as good as unlimited.
fn seconds(window: u64) -> u32 {
    u32::try_from(window).unwrap_or(u32::MAX)
}
