//! Wires the service: two consumers, the sweeps, the reconcile pass, the relay.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use messaging::wire::{MintOutcome, MpesaResult};
use messaging::{Consumer, ConsumerConfig, Service};
use runtime::breaker::{Breaker, BreakerPolicy};
use runtime::lifecycle::LifecycleError;
use runtime::process::{Process, StartError};
use runtime::{Settings, Stop};
use storage::Outbox;

use crate::state::AppState;
use crate::{batch, observe, outcome, reconcile, report, sweep};

const RELAYS: usize = 1;

/// The service, built but not running.
#[derive(Debug)]
pub struct App {
    process: Process,
    state: Arc<AppState>,
}

impl App {
    pub fn build(settings: Settings) -> Result<Self, StartError> {
        let mut process = Process::build(settings, Service::Callback)?;
        meter::register(observe::METRICS);
        let relay = process.relay(Outbox::Callback, RELAYS);
        let state = Arc::new(AppState {
            pool: process.pool.clone(),
            sealer: process.sealer(),
            keys: process.keys.clone(),
            ids: process.ids(),
            clock: process.clock(),
            windows: process.settings.limits.policy.windows.clone(),
            relay,
        });
        let mut app = Self { process, state };
        app.consume();
        let stop = app.process.stop();
        app.process
            .tasks
            .spawn("sweeps", sweep::run(app.state.clone(), stop.clone()));
        app.process
            .tasks
            .spawn("reconcile", reconcile::run(app.state.clone(), stop));
        Ok(app)
    }

    /// The state that the handlers share. For tests.
    pub fn state(&self) -> Arc<AppState> {
        self.state.clone()
    }

    pub fn stop(&self) -> Stop {
        self.process.stop()
    }

    pub fn admin_addr(&self) -> Option<SocketAddr> {
        self.process.addresses.addr("admin")
    }

    pub fn stop_on_signals(&self) -> Result<(), LifecycleError> {
        self.process.stop_on_signals()
    }

    pub async fn run_until_stopped(self) -> Result<(), LifecycleError> {
        self.process.run_until_stopped().await
    }

    fn consume(&mut self) {
        let breaker = Breaker::new("database", BreakerPolicy::default());
        let pool = self.process.pool.clone();
        let probe = move || {
            let pool = pool.clone();
            async move {
                let client = pool.get().await.map_err(|error| domain::error_chain(&error))?;
                storage::clock::now(&client)
                    .await
                    .map(drop)
                    .map_err(|error| domain::error_chain(&error))
            }
        };
        let stop = self.process.stop();
        self.process
            .tasks
            .spawn("database breaker", breaker.clone().run(Some(probe), stop.clone()));
        let config = ConsumerConfig {
            prefetch: 128,
            max_batch: 64,
            linger: Duration::from_millis(2),
        };
        let (state, batch_breaker) = (self.state.clone(), breaker.clone());
        let reports = Consumer::<MpesaResult>::new(self.process.consumer_parts(), config).run(
            move |batch| {
                batch::handle_batch(
                    state.clone(),
                    batch_breaker.clone(),
                    batch,
                    report::tx_ref,
                    report::handle,
                )
            },
            breaker.gate(),
            stop.token(),
        );
        self.process.tasks.spawn("mpesa.result", reports);
        let (state, batch_breaker) = (self.state.clone(), breaker.clone());
        let outcomes = Consumer::<MintOutcome>::new(self.process.consumer_parts(), config).run(
            move |batch| {
                batch::handle_batch(
                    state.clone(),
                    batch_breaker.clone(),
                    batch,
                    outcome::tx_ref,
                    outcome::handle,
                )
            },
            breaker.gate(),
            stop.token(),
        );
        self.process.tasks.spawn("mint.outcome", outcomes);
    }
}
