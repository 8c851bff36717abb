//! Health checks: whether a process can do its work. Services add checks; each has a time limit, and results are cached
//! briefly.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use serde::Serialize;
use tokio::time::Instant;

/// Time limit of one check.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a report is reused, so that frequent probes cause no load.
const CACHE_TTL: Duration = Duration::from_millis(500);

type CheckFuture = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
type HealthCheck = Arc<dyn Fn() -> CheckFuture + Send + Sync>;
type NamedCheck = (&'static str, CheckKind, HealthCheck);

/// What a failed check means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CheckKind {
    /// The process is not ready: it cannot do its work.
    Readiness,
    /// The process is ready but not healthy: what it accepts meanwhile is stored safely and waits.
    HealthOnly,
}

/// A set of checks. Clones share it.
#[derive(Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<Vec<NamedCheck>>>,
    last: Arc<tokio::sync::Mutex<Option<(Instant, HealthReport)>>>,
}

/// The results of all checks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HealthReport {
    pub ready: bool,
    /// True if every check passed, including the optional ones.
    pub healthy: bool,
    /// `ok` or the problem, by name of the check.
    pub checks: BTreeMap<&'static str, String>,
}

impl HealthReport {
    pub fn is_ok(&self, check: &str) -> bool {
        self.checks.get(check).is_some_and(|answer| answer == "ok")
    }
}

impl Health {
    /// Adds a check that must pass for the process to be ready.
    pub fn add<F, A>(&self, name: &'static str, check: F)
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.register(name, CheckKind::Readiness, check);
    }

    /// Adds a check that is reported but does not affect readiness.
    pub fn add_optional<F, A>(&self, name: &'static str, check: F)
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.register(name, CheckKind::HealthOnly, check);
    }

    fn register<F, A>(&self, name: &'static str, weight: CheckKind, check: F)
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<(), String>> + Send + 'static,
    {
        let check: HealthCheck = Arc::new(move || Box::pin(check()));
        self.checks.lock().push((name, weight, check));
    }

    pub async fn report(&self) -> HealthReport {
        let mut last = self.last.lock().await;
        if let Some((at, report)) = last.as_ref()
            && at.elapsed() < CACHE_TTL
        {
            return report.clone();
        }
        let report = self.run().await;
        *last = Some((Instant::now(), report.clone()));
        report
    }

    async fn run(&self) -> HealthReport {
        let checks = self.checks.lock().clone();
        let answers = join_all(checks.into_iter().map(|(name, weight, check)| async move {
            let answer = match tokio::time::timeout(CHECK_TIMEOUT, check()).await {
                Ok(Ok(())) => "ok".to_owned(),
                Ok(Err(problem)) => problem,
                Err(_) => format!("no answer within {} s", CHECK_TIMEOUT.as_secs()),
            };
            (name, weight, answer)
        }));
        let answers = answers.await;
        let pass = |weights: &[CheckKind]| {
            answers
                .iter()
                .all(|(_, weight, answer)| !weights.contains(weight) || answer == "ok")
        };
        HealthReport {
            ready: pass(&[CheckKind::Readiness]),
            healthy: pass(&[CheckKind::Readiness, CheckKind::HealthOnly]),
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
    async fn an_optional_check_affects_only_health() {
        let health = Health::default();
        health.add("good", || async { Ok(()) });
        health.add_optional("bad", || async { Err("down".to_owned()) });
        let report = health.run().await;
        assert!(
            report.ready && !report.healthy && !report.is_ok("bad"),
            "{report:?}"
        );
    }

    #[tokio::test]
    async fn a_check_without_a_result_fails() {
        let health = Health::default();
        health.add("silent", std::future::pending);
        let report = health.run().await;
        assert!(
            !report.ready && report.checks["silent"].contains("no answer"),
            "{report:?}"
        );
    }
}
