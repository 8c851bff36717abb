//! Builds the gateway from its settings.

use std::convert::Infallible;
use std::future::ready;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::Server;
use actix_web::{App as HttpApp, HttpServer, web};
use domain::signature::HmacSecret;
use parking_lot::Mutex;
use ring::rand::{SecureRandom as _, SystemRandom};
use runtime::relay::RelayNotifier;
use runtime::{Process, StartError};
use storage::halts::HaltScope;
use storage::{Outbox, Pool, PoolConfig};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::auth::SignatureVerifier;
use crate::connections::Connections;
use crate::heartbeat::{HeartbeatReader, HeartbeatWatch};
use crate::intake::IntakeLimits;
use crate::intake::intents::IntentIntake;
use crate::intake::reports::ReportIntake;
use crate::keys::LiveKeys;
use crate::redrive::{Redrive, RedriveProgress};
use crate::settings::GatewaySettings;
use crate::state::{Gateway, Limiter};
use crate::upkeep::{FollowKeys, RecordUses};
use crate::{observe, routes, tls, upkeep};

/// How long to wait for an idempotency key that another gateway has locked (docs/IDEMPOTENCY.md).
const LOCK_TIMEOUT: Duration = Duration::from_millis(250);
/// Time limit of one intake statement, so that a callback is answered within the webhook's time-out.
const INTAKE_STATEMENT: Duration = Duration::from_millis(2500);
/// How long an idle connection stays open; a stop waits for it.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Seconds that running requests get after the soft stop.
const DRAIN: u64 = 12;
const RELAYS: usize = 2;
const HEARTBEAT_PERIOD: Duration = Duration::from_secs(2);
const CONNECTIONS_PERIOD: Duration = Duration::from_secs(1);
const UNPAID_PERIOD: Duration = Duration::from_secs(1);
const KEY_ROWS_PERIOD: Duration = Duration::from_secs(1);
const USES_PERIOD: Duration = Duration::from_secs(10);
const PURGE_PERIOD: Duration = Duration::from_mins(1);
const DEPTHS_PERIOD: Duration = Duration::from_secs(5);

/// A listening gateway. Its tasks run on the process.
#[derive(Debug)]
pub struct App {
    /// Where the API is served.
    pub api: SocketAddr,
}

/// Binds the ports and spawns all tasks. Must be called inside a tokio runtime.
pub fn build(settings: &GatewaySettings, process: &mut Process) -> Result<App, StartError> {
    meter::register(observe::METRICS);
    let keys = Arc::new(LiveKeys::default());
    let relay = process.relay(Outbox::Gateway, RELAYS);
    let closed = CancellationToken::new();
    let intake_pool = process.pool(intake_pool(settings))?;
    let intents = spawn_intents(process, settings, &intake_pool, &keys, &relay, &closed);
    let reports = spawn_reports(process, settings, &intake_pool, &relay, &closed);
    let depths = spawn_upkeep(process, settings, &keys, &relay);
    let heartbeat = HeartbeatReader::new(process.pool.clone());
    let executor = heartbeat.watch();
    process.every("executor's heartbeat", HEARTBEAT_PERIOD, heartbeat);
    add_health_checks(process, executor.clone(), keys.clone());
    let policy = settings.shared.limits.policy.clone();
    let gateway = web::Data::new(Gateway {
        escrow: settings.contracts.escrow,
        treasury: settings.contracts.treasury,
        bounds: settings.bounds,
        clock: process.clock(),
        ids: process.ids(),
        verifier: SignatureVerifier::new(decoy()?, policy.windows.freshness_seconds),
        policy,
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
    let api = serve(process, settings, gateway, closed)?;
    Ok(App { api })
}

/// Binds the API and spawns its server. Once no request can push to the intake any more, `closed` is cancelled.
fn serve(
    process: &mut Process,
    settings: &GatewaySettings,
    gateway: web::Data<Gateway>,
    closed: CancellationToken,
) -> Result<SocketAddr, StartError> {
    let connections = Arc::new(Connections::default());
    let max_idle = KEEP_ALIVE + settings.bounds.header_timeout;
    let watched = connections.clone();
    process.every("connections", CONNECTIONS_PERIOD, move || {
        watched.close_idle(max_idle);
        ready(Ok::<_, Infallible>(()))
    });
    let (api, server) = bind(settings, gateway, connections)?;
    process.addresses.record("api", api);
    let (handle, stop) = (server.handle(), process.stop());
    process.tasks.spawn("api stop", async move {
        stop.requested().await;
        handle.stop(true).await;
        closed.cancel();
    });
    process.tasks.spawn_fallible("api", server);
    Ok(api)
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
    let counted = (intake.clone(), process.pool.clone());
    process.every("unpaid count", UNPAID_PERIOD, move || {
        let (intake, pool) = counted.clone();
        async move { intake.recount_unpaid(&pool).await }
    });
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
    let pool = process.pool.clone();
    let follow = FollowKeys::new(keys.clone(), &process.keys, pool.clone());
    let mounted = process.keys.subscribe();
    process
        .tasks
        .every_or_when("keys and rows", KEY_ROWS_PERIOD, mounted, follow);
    let uses = RecordUses::new(keys.clone(), process.clock(), pool.clone());
    process.every("last uses", USES_PERIOD, uses);
    let kept_for: f64 = seconds(windows.idempotency_seconds).into();
    let purged = (pool.clone(), process.stop());
    process.every("purge", PURGE_PERIOD, move || {
        let (pool, stop) = purged.clone();
        async move { upkeep::purge(&pool, kept_for, &stop).await }
    });
    let redrive = Redrive {
        pool,
        keys: process.keys.clone(),
        sealer: process.sealer(),
        clock: process.clock(),
        ids: process.ids(),
        relay: relay.clone(),
        after_seconds: seconds(windows.redrive_seconds),
        reported: Mutex::default(),
        progress: RedriveProgress::default(),
    };
    process.every("re-drive", redrive.period(), redrive);
    spawn_depths(process)
}

fn spawn_depths(process: &mut Process) -> watch::Receiver<Option<upkeep::Depths>> {
    let (depths, shown) = watch::channel(None);
    let (depths, broker) = (Arc::new(depths), process.broker.clone());
    process.every("queue depths", DEPTHS_PERIOD, move || {
        let (broker, depths) = (broker.clone(), depths.clone());
        async move { upkeep::read_depths(&broker, &depths).await }
    });
    shown
}

fn bind(
    settings: &GatewaySettings,
    gateway: web::Data<Gateway>,
    connections: Arc<Connections>,
) -> Result<(SocketAddr, Server), StartError> {
    let unbound = |error| StartError::part("the API port", error);
    let listener = TcpListener::bind(settings.api.listen).map_err(unbound)?;
    let addr = listener.local_addr().map_err(unbound)?;
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
        Some(files) => {
            let tls = tls::load(files).map_err(|error| StartError::part("TLS", error))?;
            server.listen_rustls_0_23(listener, tls)
        }
    };
    Ok((addr, server.map_err(unbound)?.run()))
}

/// A random secret that replaces the secret of an unknown key, so that verification takes the same time.
fn decoy() -> Result<HmacSecret, StartError> {
    let no_randomness = || StartError::part("the decoy key", "the machine gives no randomness");
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| no_randomness())?;
    HmacSecret::from_bytes(&bytes).map_err(|_| no_randomness())
}

/// Windows are far below 136 years; a longer one is as good as unlimited.
fn seconds(window: u64) -> u32 {
    u32::try_from(window).unwrap_or(u32::MAX)
}
