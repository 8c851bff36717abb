//! How a process ends. First it drains: it reports unready but works as before, so that load balancers send traffic
//! elsewhere. Then it stops softly: running work finishes. Then it stops hard. If a task ends by itself or fails, the
//! whole process stops, because half a service is worse than none.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::periodic::{Periodic, Schedule};
use crate::stop::Stop;

/// Maximum time for running work to finish after the soft stop.
pub const GRACE_PERIOD: Duration = Duration::from_secs(20);

type TaskError = Box<dyn Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    #[error("{task} ended unexpectedly")]
    EndedEarly { task: &'static str },
    #[error("{task} failed")]
    Failed { task: &'static str, source: TaskError },
    #[error("a task panicked")]
    Panicked { source: TaskError },
    #[error("not everything ended within {} s of the soft stop", GRACE_PERIOD.as_secs())]
    GracePeriodExceeded,
    #[error("signals cannot be awaited")]
    Signals { source: std::io::Error },
}

/// The long-running tasks of a process.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<(&'static str, Result<(), TaskError>)>,
    stop: Stop,
    grace: Duration,
}

impl Tasks {
    pub fn new(stop: Stop) -> Self {
        Self {
            set: JoinSet::new(),
            stop,
            grace: GRACE_PERIOD,
        }
    }

    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Repeats a task until the stop: at once, then `period` after each end.
    pub fn every(&mut self, name: &'static str, period: Duration, task: impl Periodic) {
        let schedule = Schedule::new(name, period, self.stop());
        self.spawn(name, schedule.repeat(task));
    }

    /// The same, and also whenever `wake` changes.
    pub fn every_or_when<T: Send + Sync + 'static>(
        &mut self,
        name: &'static str,
        period: Duration,
        wake: watch::Receiver<T>,
        task: impl Periodic,
    ) {
        let schedule = Schedule::new(name, period, self.stop()).or_when(wake);
        self.spawn(name, schedule.repeat(task));
    }

    /// Spawns a task that runs until the stop.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            task.await;
            (name, Ok(()))
        });
    }

    /// Spawns a task that may fail permanently.
    pub fn spawn_fallible<E>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Error + Send + Sync + 'static,
    {
        self.set
            .spawn(async move { (name, task.await.map_err(Into::into)) });
    }

    /// Runs until a stop is requested or a task ends, then waits for the other tasks.
    pub async fn run(mut self) -> Result<(), LifecycleError> {
        let first = tokio::select! {
            () = self.stop.requested() => Ok(()),
            ended = self.set.join_next() => match ended {
                None => Ok(()),
                Some(ended) => self.task_result(ended),
            },
        };
        if let Err(error) = &first {
            tracing::error!(error = %domain::error_chain(error), "stopping");
        }
        self.stop.soft();
        let rest = tokio::time::timeout(self.grace, async {
            let mut result = Ok(());
            while let Some(ended) = self.set.join_next().await {
                let judged = self.task_result(ended);
                result = result.and(judged);
            }
            result
        });
        let rest = rest.await.unwrap_or(Err(LifecycleError::GracePeriodExceeded));
        self.set.shutdown().await;
        first.and(rest)
    }

    fn task_result(
        &self,
        ended: Result<(&'static str, Result<(), TaskError>), tokio::task::JoinError>,
    ) -> Result<(), LifecycleError> {
        match ended {
            Ok((_, Ok(()))) if self.stop.is_requested() => Ok(()),
            Ok((task, Ok(()))) => Err(LifecycleError::EndedEarly { task }),
            Ok((task, Err(source))) => Err(LifecycleError::Failed { task, source }),
            Err(error) => Err(LifecycleError::Panicked { source: error.into() }),
        }
    }
}

/// On the first SIGTERM or SIGINT, drains for the given time and then stops softly; a second signal stops immediately.
pub fn stop_on_signals(stop: &Stop, drain: Duration) -> Result<(), LifecycleError> {
    let listen = |kind| signal(kind).map_err(|source| LifecycleError::Signals { source });
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        tracing::info!(
            drain_ms = drain.as_millis(),
            "signal received: shutting down gracefully"
        );
        stop.drain();
        let soft = async {
            if stop.sleep(drain).await {
                stop.soft();
            }
            std::future::pending::<()>().await;
        };
        tokio::select! { () = soft => {}, _ = term.recv() => {}, _ = int.recv() => {} }
        tracing::warn!("second signal: stopping immediately");
        std::process::exit(130);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_soft_stop_lets_current_work_finish() {
        let mut tasks = Tasks::new(Stop::new());
        let stop = tasks.stop();
        let (done, finished) = tokio::sync::oneshot::channel();
        let asked = stop.clone();
        tasks.spawn("worker", async move {
            asked.requested().await;
            tokio::task::yield_now().await;
            done.send(()).unwrap();
        });
        stop.soft();
        tasks.run().await.unwrap();
        finished.await.unwrap();
    }

    #[test]
    fn draining_stops_no_task_and_a_stop_also_drains() {
        let stop = Stop::new();
        stop.drain();
        assert!(stop.is_draining() && !stop.is_requested());
        let stop = Stop::new();
        stop.soft();
        assert!(stop.is_draining() && stop.is_requested());
    }

    #[tokio::test]
    async fn a_task_that_ends_or_panics_stops_the_rest() {
        for panics in [false, true] {
            let mut tasks = Tasks::new(Stop::new());
            let stop = tasks.stop();
            tasks.spawn("patient", async move { stop.requested().await });
            tasks.spawn("short", async move { assert!(!panics, "on purpose") });
            let error = tasks.run().await.unwrap_err();
            match error {
                LifecycleError::Panicked { .. } => assert!(panics),
                LifecycleError::EndedEarly { task } => assert_eq!((task, panics), ("short", false)),
                other => panic!("{other}"),
            }
        }
    }

    #[tokio::test]
    async fn tasks_that_do_not_end_are_aborted() {
        let mut tasks = Tasks::new(Stop::new());
        tasks.grace = Duration::from_millis(20);
        tasks.spawn("stubborn", std::future::pending());
        tasks.stop().soft();
        assert!(matches!(
            tasks.run().await,
            Err(LifecycleError::GracePeriodExceeded)
        ));
    }
}
