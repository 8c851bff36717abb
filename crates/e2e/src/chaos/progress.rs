//! Watches a running scenario from outside: how far it is, how long nothing moved, how much memory the services use.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use testkit::postgres::psql;

use super::customers::Customers;
use super::memory::{Memory, Samples};

const POLL_EVERY: Duration = Duration::from_millis(500);
const PRINT_EVERY: Duration = Duration::from_secs(10);

/// Counts intents that have reached an end (minted or refunded and final, dropped, or held for a person), and reads
/// figures of which one changes whenever anything moves.
const POLL_SQL: &str = "select
    (select count(*) from chain_legs where leg in ('rejected', 'dropped') or leg in ('executed', 'refunded') and final)
    + (select count(*) from decisions d where payment_leg = 'mismatched' and chain_leg = 'escrowed'
         and exists (select from exceptions e where e.tx_ref = d.tx_ref and e.is_hold and e.resolved_at is null)),
    (select coalesce(sum(version), 0) from chain_legs),
    (select coalesce(sum(version), 0) from decisions),
    (select count(*) from payments) + (select count(*) from mint_intents)";

#[derive(Debug, Default)]
struct ProgressState {
    settled: usize,
    figures: String,
    moved_at: Option<Instant>,
    longest_stall: Duration,
    samples: BTreeMap<&'static str, Samples>,
    pids: BTreeMap<&'static str, u32>,
    activity: String,
}

/// Clones share their state.
#[derive(Debug, Clone)]
pub struct ProgressWatch {
    label: String,
    database_url: String,
    customers: Customers,
    expected: usize,
    begun: Instant,
    state: Arc<Mutex<ProgressState>>,
}

impl ProgressWatch {
    pub fn new(label: &str, database_url: String, customers: Customers, expected: usize) -> Self {
        Self {
            label: label.to_owned(),
            database_url,
            customers,
            expected,
            begun: Instant::now(),
            state: Arc::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, ProgressState> {
        self.state.lock()
    }

    /// Polls until dropped.
    pub async fn run(&self) {
        let mut printed_at = Instant::now();
        loop {
            let url = self.database_url.clone();
            // A killed database does not answer; then nothing moves, and that is what is recorded.
            let polled = tokio::task::spawn_blocking(move || psql(&url, POLL_SQL).ok()).await;
            self.record(polled.ok().flatten().as_deref());
            if printed_at.elapsed() > PRINT_EVERY {
                printed_at = Instant::now();
                self.print_progress();
            }
            testkit::wait::pause(POLL_EVERY).await;
        }
    }

    fn record(&self, row: Option<&str>) {
        let accepted = self.customers.request_log().sent.intents.len();
        let mut state = self.state();
        let now = Instant::now();
        let waits = accepted > state.settled;
        if let Some((settled, figures)) = row.and_then(|row| row.trim().split_once('|')) {
            if figures != state.figures || !waits {
                figures.clone_into(&mut state.figures);
                state.moved_at = Some(now);
            }
            state.settled = settled.parse().unwrap_or(state.settled);
        }
        let since = *state.moved_at.get_or_insert(now);
        if waits {
            state.longest_stall = state.longest_stall.max(now - since);
        }
        for (service, pid) in state.pids.clone() {
            state.samples.entry(service).or_default().take(pid);
        }
    }

    fn print_progress(&self) {
        let (accepted, reports) = {
            let request_log = self.customers.request_log();
            (request_log.sent.intents.len(), request_log.reports)
        };
        let state = self.state();
        eprintln!(
            "chaos: {:>5} s  {}: {accepted}/{} accepted, {reports} reports, {} settled; {}",
            self.begun.elapsed().as_secs(),
            self.label,
            self.expected.max(accepted),
            state.settled,
            state.activity
        );
    }

    /// Sets what the progress line says is happening now.
    pub fn set_activity(&self, what: impl Into<String>) {
        self.state().activity = what.into();
    }

    pub fn track_process(&self, service: &'static str, pid: u32) {
        self.state().pids.insert(service, pid);
    }

    pub fn settled(&self) -> usize {
        self.state().settled
    }

    /// How long nothing has moved.
    pub fn idle_for(&self) -> Duration {
        self.state().moved_at.map_or(Duration::ZERO, |at| at.elapsed())
    }

    pub fn longest_stall(&self) -> Duration {
        self.state().longest_stall
    }

    pub fn took(&self) -> Duration {
        self.begun.elapsed()
    }

    pub fn memory(&self) -> BTreeMap<&'static str, Memory> {
        let state = self.state();
        state
            .samples
            .iter()
            .map(|(service, samples)| (*service, samples.summary()))
            .collect()
    }
}
