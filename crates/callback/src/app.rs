//! Wires the service: two consumers, the sweeps, the reconcile pass, the relay.

use std::sync::Arc;
use std::time::Duration;

use messaging::wire::{MintOutcome, MpesaResult};
use messaging::{Consumer, ConsumerConfig};
use runtime::breaker::{Breaker, BreakerPolicy};
use runtime::{Process, StartError};
use storage::{Inbox, Outbox, Pool, StorageError};

use crate::batch::{Handled, handle_batch};
use crate::settings::CallbackSettings;
use crate::state::AppState;
use crate::{observe, reconcile, sweep};

const RELAYS: usize = 1;
const CONSUMER: ConsumerConfig = ConsumerConfig {
    prefetch: 128,
    max_batch: 64,
    linger: Duration::from_millis(2),
};
const RECONCILE_PERIOD: Duration = Duration::from_mins(1);
const PURGE_PERIOD: Duration = Duration::from_hours(1);
/// How long inbox rows are kept: a message can come again as long as it is in a queue or a dead-letter queue.
const INBOX_DAYS: u32 = 30;

/// The service's state. Its tasks run on the process.
#[derive(Debug)]
pub struct App {
    pub state: Arc<AppState>,
}

/// Spawns the service's tasks. They run when the process does.
pub fn build(_: &CallbackSettings, process: &mut Process) -> Result<App, StartError> {
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
    let breaker = spawn_breaker(process);
    consume::<MpesaResult>(process, &state, &breaker);
    consume::<MintOutcome>(process, &state, &breaker);
    repeat(process, &state);
    Ok(App { state })
}

/// The breaker of the database, which it probes while it is open.
fn spawn_breaker(process: &mut Process) -> Breaker {
    let breaker = Breaker::new("database", BreakerPolicy::default());
    let pool = process.pool.clone();
    let probe = move || {
        let pool = pool.clone();
        async move { is_up(&pool).await.map_err(|error| domain::error_chain(&error)) }
    };
    let running = breaker.clone().run(Some(probe), process.stop());
    process.tasks.spawn("database breaker", running);
    breaker
}

async fn is_up(pool: &Pool) -> Result<(), StorageError> {
    storage::clock::now(&pool.get().await?).await.map(drop)
}

fn consume<B: Handled>(process: &mut Process, state: &Arc<AppState>, breaker: &Breaker) {
    let (state, open, breaker) = (state.clone(), breaker.gate(), breaker.clone());
    let handler = move |batch| handle_batch::<B>(state.clone(), breaker.clone(), batch);
    let consumer = Consumer::<B>::new(process.consumer_parts(), CONSUMER);
    let consuming = consumer.run(handler, open, process.stop().token());
    process.tasks.spawn(B::QUEUE.name(), consuming);
}

fn repeat(process: &mut Process, state: &Arc<AppState>) {
    let swept = state.clone();
    process.every("sweeps", sweep::period(state), move || {
        let state = swept.clone();
        async move { sweep::run_all(&state).await }
    });
    let reconciled = state.clone();
    process.every("reconcile", RECONCILE_PERIOD, move || {
        let state = reconciled.clone();
        async move { reconcile::run(&state).await }
    });
    let pool = state.pool.clone();
    process.every("inbox", PURGE_PERIOD, move || {
        let pool = pool.clone();
        async move {
            Inbox::Callback
                .purge(&pool.get().await?, INBOX_DAYS)
                .await
                .map(drop)
        }
    });
}
