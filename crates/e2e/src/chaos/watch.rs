//! Looks at a running story from outside: how far it is, how long nothing moved, how much memory the services take.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use testkit::postgres::psql;

use super::customers::Customers;
use super::memory::{Memory, Samples};

const LOOK_EVERY: Duration = Duration::from_millis(500);
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Intents that have come to an end (minted or refunded and final, dropped, or held for a person), and what moves when anything
/// moves.
const LOOK: &str = "select
    (select count(*) from chain_legs where leg in ('rejected', 'dropped') or leg in ('executed', 'refunded') and final)
    + (select count(*) from decisions d where payment_leg = 'mismatched' and chain_leg = 'escrowed'
         and exists (select from exceptions e where e.tx_ref = d.tx_ref and e.is_hold and e.resolved_at is null)),
    (select coalesce(sum(version), 0) from chain_legs),
    (select coalesce(sum(version), 0) from decisions),
    (select count(*) from payments) + (select count(*) from mint_intents)";

#[derive(Debug, Default)]
struct Seen {
    settled: usize,
    moving: String,
    moved_at: Option<Instant>,
    longest_stall: Duration,
    samples: BTreeMap<&'static str, Samples>,
    pids: BTreeMap<&'static str, u32>,
    doing: String,
}

/// Clones look at the same.
#[derive(Debug, Clone)]
pub struct Watch {
    label: String,
    database_url: String,
    customers: Customers,
    expected: usize,
    begun: Instant,
    seen: Arc<Mutex<Seen>>,
}

impl Watch {
    pub fn new(label: &str, database_url: String, customers: Customers, expected: usize) -> Self {
        Self {
            label: label.to_owned(),
            database_url,
            customers,
            expected,
            begun: Instant::now(),
            seen: Arc::default(),
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until dropped.
    pub async fn run(&self) {
        let mut told = Instant::now();
        loop {
            let (url, watch) = (self.database_url.clone(), self.clone());
            // A killed database answers nothing; then nothing moves, which is what there is to see.
            let looked = tokio::task::spawn_blocking(move || psql(&url, LOOK).ok()).await;
            watch.note(looked.ok().flatten().as_deref());
            if told.elapsed() > TELL_EVERY {
                told = Instant::now();
                self.tell();
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn note(&self, row: Option<&str>) {
        let accepted = self.customers.notes().sent.intents.len();
        let mut seen = self.seen();
        let now = Instant::now();
        let waits = accepted > seen.settled;
        if let Some((settled, moving)) = row.and_then(|row| row.trim().split_once('|')) {
            if moving != seen.moving || !waits {
                moving.clone_into(&mut seen.moving);
                seen.moved_at = Some(now);
            }
            seen.settled = settled.parse().unwrap_or(seen.settled);
        }
        let since = *seen.moved_at.get_or_insert(now);
        if waits {
            seen.longest_stall = seen.longest_stall.max(now - since);
        }
        for (service, pid) in seen.pids.clone() {
            seen.samples.entry(service).or_default().take(pid);
        }
    }

    fn tell(&self) {
        let (accepted, reports) = {
            let notes = self.customers.notes();
            (notes.sent.intents.len(), notes.reports)
        };
        let seen = self.seen();
        eprintln!(
            "chaos: {:>5} s  {}: {accepted}/{} accepted, {reports} reports, {} settled; {}",
            self.begun.elapsed().as_secs(),
            self.label,
            self.expected.max(accepted),
            seen.settled,
            seen.doing
        );
    }

    /// What the story does now, for whoever watches it.
    pub fn doing(&self, what: impl Into<String>) {
        self.seen().doing = what.into();
    }

    pub fn lives(&self, service: &'static str, pid: u32) {
        self.seen().pids.insert(service, pid);
    }

    pub fn settled(&self) -> usize {
        self.seen().settled
    }

    /// For how long nothing has moved.
    pub fn still_for(&self) -> Duration {
        self.seen().moved_at.map_or(Duration::ZERO, |at| at.elapsed())
    }

    pub fn longest_stall(&self) -> Duration {
        self.seen().longest_stall
    }

    pub fn took(&self) -> Duration {
        self.begun.elapsed()
    }

    pub fn memory(&self) -> BTreeMap<&'static str, Memory> {
        let seen = self.seen();
        seen.samples
            .iter()
            .map(|(service, samples)| (*service, samples.summary()))
            .collect()
    }
}
