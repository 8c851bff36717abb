//! A circuit breaker stops work while a dependency is down: messages wait in their queue and use up no attempts.
//!
//! [`BreakerState`] is the pure state machine; [`Breaker`] shares it and exposes it as a gate (true = work may run).

use std::sync::Arc;
use std::time::Duration;

use domain::backoff::Backoff;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::observe;
use crate::stop::Stop;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BreakerPolicy {
    /// Number of consecutive failures that open the breaker.
    pub failures: u32,
    /// How long it stays open before the first probe, and after each failed one.
    pub open_for: Backoff,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            failures: 3,
            open_for: Backoff {
                first: Duration::from_millis(500),
                longest: Duration::from_secs(15),
            },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerPhase {
    /// Work runs; counts consecutive failures.
    Closed { failures: u32 },
    /// No work runs until this time.
    Open { until: Instant, failed_probes: u32 },
    /// The next result closes or opens the breaker.
    HalfOpen { failed_probes: u32 },
}

/// The state machine of a breaker; time is a parameter.
#[derive(Clone, Copy, Debug)]
pub struct BreakerState {
    policy: BreakerPolicy,
    phase: BreakerPhase,
}

impl BreakerState {
    pub fn new(policy: BreakerPolicy) -> Self {
        Self {
            policy,
            phase: BreakerPhase::Closed { failures: 0 },
        }
    }

    pub fn phase(&self) -> BreakerPhase {
        self.phase
    }

    pub fn on_success(&mut self) {
        // A success of work that started before the breaker opened proves nothing.
        if !matches!(self.phase, BreakerPhase::Open { .. }) {
            self.phase = BreakerPhase::Closed { failures: 0 };
        }
    }

    pub fn on_failure(&mut self, now: Instant) {
        match self.phase {
            BreakerPhase::Closed { failures } if failures + 1 < self.policy.failures => {
                self.phase = BreakerPhase::Closed {
                    failures: failures + 1,
                };
            }
            BreakerPhase::Closed { .. } => self.open(now, 0),
            BreakerPhase::HalfOpen { failed_probes } => self.open(now, failed_probes.saturating_add(1)),
            BreakerPhase::Open { .. } => {}
        }
    }

    /// Opens immediately, regardless of the count, after an unmistakable failure.
    pub fn trip(&mut self, now: Instant) {
        match self.phase {
            BreakerPhase::Closed { .. } => self.open(now, 0),
            BreakerPhase::HalfOpen { failed_probes } => self.open(now, failed_probes.saturating_add(1)),
            BreakerPhase::Open { .. } => {}
        }
    }

    /// Turns half open once the wait is over.
    pub fn on_tick(&mut self, now: Instant) {
        if let BreakerPhase::Open { until, failed_probes } = self.phase
            && now >= until
        {
            self.phase = BreakerPhase::HalfOpen { failed_probes };
        }
    }

    fn open(&mut self, now: Instant, failed_probes: u32) {
        self.phase = BreakerPhase::Open {
            until: now + self.policy.open_for.wait(failed_probes),
            failed_probes,
        };
    }
}

/// The breaker of one dependency or command. Clones share it.
#[derive(Clone, Debug)]
pub struct Breaker(Arc<BreakerInner>);

#[derive(Debug)]
struct BreakerInner {
    name: String,
    state: Mutex<BreakerState>,
    phase: watch::Sender<BreakerPhase>,
    gate: watch::Sender<bool>,
}

impl Breaker {
    /// `name` becomes a metric label, so it must be one of few values.
    pub fn new(name: impl Into<String>, policy: BreakerPolicy) -> Self {
        let core = BreakerState::new(policy);
        let breaker = Self(Arc::new(BreakerInner {
            name: name.into(),
            state: Mutex::new(core),
            phase: watch::Sender::new(core.phase()),
            gate: watch::Sender::new(true),
        }));
        // Prometheus sees no increase when a counter first appears at one.
        observe::BREAKER_OPENED.add([&breaker.0.name], 0);
        breaker.update_gauge();
        breaker
    }

    /// True while work may run.
    pub fn gate(&self) -> watch::Receiver<bool> {
        self.0.gate.subscribe()
    }

    pub fn is_open(&self) -> bool {
        matches!(*self.0.phase.borrow(), BreakerPhase::Open { .. })
    }

    pub fn success(&self) {
        self.update(BreakerState::on_success, "");
    }

    /// `why` is written to the log.
    pub fn failure(&self, why: &str) {
        self.update(|core| core.on_failure(Instant::now()), why);
    }

    pub fn trip(&self, why: &str) {
        self.update(|core| core.trip(Instant::now()), why);
    }

    /// Runs the breaker's timers until the stop. With a probe, no work runs until the probe succeeds; without a probe,
    /// work runs when half open and its first result decides.
    pub async fn run<P, F>(self, probe: Option<P>, stop: Stop)
    where
        P: Fn() -> F + Send + Sync,
        F: Future<Output = Result<(), String>> + Send,
    {
        let mut phase = self.0.phase.subscribe();
        loop {
            let now = *phase.borrow_and_update();
            match (now, &probe) {
                (BreakerPhase::Open { until, .. }, _) => tokio::select! {
                    () = stop.requested() => return,
                    () = tokio::time::sleep_until(until) => self.update(|core| core.on_tick(Instant::now()), ""),
                },
                (BreakerPhase::HalfOpen { .. }, Some(probe)) => match probe().await {
                    Ok(()) => self.success(),
                    Err(why) => self.failure(&why),
                },
                _ => tokio::select! {
                    () = stop.requested() => return,
                    changed = phase.changed() => if changed.is_err() { return },
                },
            }
            self.0.gate.send_if_modified(|open| {
                let probed =
                    probe.is_some() && matches!(*self.0.phase.borrow(), BreakerPhase::HalfOpen { .. });
                let next = !self.is_open() && !probed;
                std::mem::replace(open, next) != next
            });
        }
    }

    fn update(&self, change: impl FnOnce(&mut BreakerState), why: &str) {
        let (before, after) = {
            let mut core = self.0.state.lock();
            let before = core.phase();
            change(&mut core);
            (before, core.phase())
        };
        if before == after {
            return;
        }
        let name = &self.0.name;
        match after {
            BreakerPhase::Open { until, .. } => {
                observe::BREAKER_OPENED.increment([name]);
                let wait_ms = until.saturating_duration_since(Instant::now()).as_millis();
                tracing::warn!(breaker = name, why, wait_ms, "breaker opened");
                self.0.gate.send_replace(false);
            }
            BreakerPhase::Closed { failures: 0 } if !matches!(before, BreakerPhase::Closed { .. }) => {
                tracing::info!(breaker = name, "breaker closed");
                self.0.gate.send_replace(true);
            }
            _ => {}
        }
        self.0.phase.send_replace(after);
        self.update_gauge();
    }

    fn update_gauge(&self) {
        let value = match *self.0.phase.borrow() {
            BreakerPhase::Closed { .. } => 0.0,
            BreakerPhase::HalfOpen { .. } => 1.0,
            BreakerPhase::Open { .. } => 2.0,
        };
        observe::BREAKER_STATE.set([&self.0.name], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> BreakerPolicy {
        BreakerPolicy {
            failures: 2,
            open_for: Backoff {
                first: Duration::from_secs(1),
                longest: Duration::from_secs(3),
            },
        }
    }

    #[test]
    fn failures_in_a_row_open_it_and_waits_double_to_their_cap() {
        let mut core = BreakerState::new(policy());
        let t0 = Instant::now();
        core.on_failure(t0);
        core.on_success();
        core.on_failure(t0);
        assert_eq!(core.phase(), BreakerPhase::Closed { failures: 1 });
        core.on_failure(t0);
        let mut now = t0;
        for (failed_probes, seconds) in [(0, 1), (1, 2), (2, 3), (3, 3)] {
            let wait = Duration::from_secs(seconds);
            assert_eq!(
                core.phase(),
                BreakerPhase::Open {
                    until: now + wait,
                    failed_probes
                }
            );
            core.on_success();
            core.on_tick(now);
            assert!(
                matches!(core.phase(), BreakerPhase::Open { .. }),
                "only the wait time ends this state"
            );
            now += wait;
            core.on_tick(now);
            assert_eq!(core.phase(), BreakerPhase::HalfOpen { failed_probes });
            core.on_failure(now);
        }
        now += Duration::from_secs(3);
        core.on_tick(now);
        core.on_success();
        assert_eq!(core.phase(), BreakerPhase::Closed { failures: 0 });
    }

    fn quick() -> BreakerPolicy {
        BreakerPolicy {
            failures: 2,
            open_for: Backoff {
                first: Duration::from_millis(10),
                longest: Duration::from_millis(40),
            },
        }
    }

    #[tokio::test]
    async fn the_gate_stays_shut_until_a_probe_succeeds() {
        let breaker = Breaker::new("test", quick());
        let stop = Stop::new();
        let up = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let probes = Arc::new(tokio::sync::Semaphore::new(0));
        let (seen, count) = (up.clone(), probes.clone());
        let probe = move || {
            let up = seen.load(std::sync::atomic::Ordering::SeqCst);
            count.add_permits(1);
            async move { if up { Ok(()) } else { Err("still down".to_owned()) } }
        };
        let task = tokio::spawn(breaker.clone().run(Some(probe), stop.clone()));
        let mut gate = breaker.gate();
        breaker.trip("treasury is empty");
        gate.wait_for(|open| !open).await.unwrap();
        drop(probes.acquire_many(3).await.unwrap());
        assert!(!*gate.borrow());
        up.store(true, std::sync::atomic::Ordering::SeqCst);
        gate.wait_for(|open| *open).await.unwrap();
        stop.soft();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn without_a_probe_the_first_result_decides() {
        type Nothing = fn() -> std::future::Ready<Result<(), String>>;
        let breaker = Breaker::new("test", quick());
        let stop = Stop::new();
        let none: Option<Nothing> = None;
        let task = tokio::spawn(breaker.clone().run(none, stop.clone()));
        let mut gate = breaker.gate();
        breaker.trip("down");
        gate.wait_for(|open| !open).await.unwrap();
        gate.wait_for(|open| *open).await.unwrap();
        breaker.failure("still down");
        gate.wait_for(|open| !open).await.unwrap();
        gate.wait_for(|open| *open).await.unwrap();
        breaker.success();
        assert!(*gate.borrow());
        stop.soft();
        task.await.unwrap();
    }
}
