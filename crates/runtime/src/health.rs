//! Checks that say whether a process can do its work; pluggable, bounded in time, cached for a moment.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use serde::Serialize;
use tokio::time::Instant;

/// Bound of one check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// A report is reused for so long: probes from many sides must not become load.
const FRESH: Duration = Duration::from_millis(500);

type Answer = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
type Check = Arc<dyn Fn() -> Answer + Send + Sync>;
type Named = (&'static str, Weight, Check);

/// What follows when a check fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Weight {
    /// Not ready: we cannot do our work.
    Needed,
    /// Ready, and not healthy: what we accept meanwhile is safe, and waits.
    Missed,
}

/// A set of checks; clones share it.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<Vec<Named>>>,
    last: Arc<tokio::sync::Mutex<Option<(Instant, Report)>>>,
}

/// What the checks said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub ready: bool,
    /// Every check passed, those that we can do without included.
    pub healthy: bool,
    /// `ok` or the problem, by check.
    pub checks: BTreeMap<&'static str, String>,
}

impl Report {
    pub fn is_ok(&self, check: &str) -> bool {
        self.checks.get(check).is_some_and(|answer| answer == "ok")
    }
}

impl Health {
    /// Must pass for the process to be ready.
    pub fn add<F, A>(&self, name: &'static str, check: F)
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.put(name, Weight::Needed, check);
    }

    /// Shown, and without it the process is ready all the same.
    pub fn add_dispensable<F, A>(&self, name: &'static str, check: F)
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.put(name, Weight::Missed, check);
    }

    fn put<F, A>(&self, name: &'static str, weight: Weight, check: F)
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: Check = Arc::new(move || Box::pin(check()));
        self.checks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push((name, weight, check));
    }

    pub async fn report(&self) -> Report {
        let mut last = self.last.lock().await;
        if let Some((at, report)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return report.clone();
        }
        let report = self.run().await;
        *last = Some((Instant::now(), report.clone()));
        report
    }

    async fn run(&self) -> Report {
        let checks = self.checks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answers = join_all(checks.into_iter().map(|(name, weight, check)| async move {
            let answer = match tokio::time::timeout(CHECK_TIMEOUT, check()).await {
                Ok(Ok(())) => "ok".to_owned(),
                Ok(Err(problem)) => problem,
                Err(_) => format!("no answer within {} s", CHECK_TIMEOUT.as_secs()),
            };
            (name, weight, answer)
        }));
        let answers = answers.await;
        let pass = |weights: &[Weight]| {
            answers
                .iter()
                .all(|(_, weight, answer)| !weights.contains(weight) || answer == "ok")
        };
        Report {
            ready: pass(&[Weight::Needed]),
            healthy: pass(&[Weight::Needed, Weight::Missed]),
            checks: answers
                .into_iter()
                .map(|(name, _, answer)| (name, answer))
                .collect(),
        }
    }
}

impl std::fmt::Debug for Health {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Health")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_bad_check_makes_it_unready() {
        let health = Health::default();
        health.add("good", || async { Ok(()) });
        assert!(health.run().await.ready);
        health.add("bad", || async { Err("down".to_owned()) });
        let report = health.run().await;
        assert!(
            !report.ready && report.is_ok("good") && !report.is_ok("bad"),
            "{report:?}"
        );
    }

    #[tokio::test]
    async fn what_we_can_do_without_makes_it_unhealthy_only() {
        let health = Health::default();
        health.add("good", || async { Ok(()) });
        health.add_dispensable("bad", || async { Err("down".to_owned()) });
        let report = health.run().await;
        assert!(
            report.ready && !report.healthy && !report.is_ok("bad"),
            "{report:?}"
        );
    }

    #[tokio::test]
    async fn a_silent_check_is_a_failed_one() {
        let health = Health::default();
        health.add("silent", std::future::pending);
        let report = health.run().await;
        assert!(
            !report.ready && report.checks["silent"].contains("no answer"),
            "{report:?}"
        );
    }
}
