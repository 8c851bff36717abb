//! How a process ends: it drains (unready, and working as before, so that balancers look elsewhere), stops softly
//! (work in hand finishes), then hard. A task that ends by itself or fails stops the process: half a service is worse
//! than none.

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::chain;

/// Longest wait for work in hand after the soft stop.
pub const GRACE: Duration = Duration::from_secs(20);

type Failure = Box<dyn Error + Send + Sync>;

#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    #[error("{task} ended unasked")]
    Ended { task: &'static str },
    #[error("{task} failed")]
    Failed { task: &'static str, source: Failure },
    #[error("a task panicked")]
    Panicked { source: Failure },
    #[error("not everything ended within {} s of the soft stop", GRACE.as_secs())]
    Overran,
    #[error("signals cannot be awaited")]
    Signals { source: std::io::Error },
}

/// How a process is asked to end; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    draining: CancellationToken,
    soft: CancellationToken,
}

impl Stop {
    pub fn new() -> Self {
        Self::default()
    }

    /// Says that the end is near: not ready any more, everything else as before.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Asks everyone to finish what they have begun.
    pub fn soft(&self) {
        self.draining.cancel();
        self.soft.cancel();
    }

    pub fn is_requested(&self) -> bool {
        self.soft.is_cancelled()
    }

    pub async fn requested(&self) {
        self.soft.cancelled().await;
    }

    /// The token that ends with the soft stop.
    pub fn token(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Waits, unless asked to stop meanwhile; false means "stop".
    pub async fn sleep(&self, wait: Duration) -> bool {
        tokio::select! {
            () = self.soft.cancelled() => false,
            () = tokio::time::sleep(wait) => true,
        }
    }
}

/// The long-running tasks of a process.
#[derive(Debug)]
pub struct Tasks {
    set: JoinSet<(&'static str, Result<(), Failure>)>,
    stop: Stop,
    grace: Duration,
}

impl Tasks {
    pub fn new(stop: Stop) -> Self {
        Self {
            set: JoinSet::new(),
            stop,
            grace: GRACE,
        }
    }

    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// A task that runs until the stop.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.set.spawn(async move {
            task.await;
            (name, Ok(()))
        });
    }

    /// A task that may fail for good.
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

    /// Runs until a stop is requested or a task ends, then waits for the rest.
    pub async fn run(mut self) -> Result<(), LifecycleError> {
        let first = tokio::select! {
            () = self.stop.requested() => Ok(()),
            ended = self.set.join_next() => match ended {
                None => Ok(()),
                Some(ended) => self.judge(ended),
            },
        };
        if let Err(error) = &first {
            tracing::error!(error = %chain(error), "stopping");
        }
        self.stop.soft();
        let rest = tokio::time::timeout(self.grace, async {
            let mut result = Ok(());
            while let Some(ended) = self.set.join_next().await {
                let judged = self.judge(ended);
                result = result.and(judged);
            }
            result
        });
        let rest = rest.await.unwrap_or(Err(LifecycleError::Overran));
        self.set.shutdown().await;
        first.and(rest)
    }

    fn judge(
        &self,
        ended: Result<(&'static str, Result<(), Failure>), tokio::task::JoinError>,
    ) -> Result<(), LifecycleError> {
        match ended {
            Ok((_, Ok(()))) if self.stop.is_requested() => Ok(()),
            Ok((task, Ok(()))) => Err(LifecycleError::Ended { task }),
            Ok((task, Err(source))) => Err(LifecycleError::Failed { task, source }),
            Err(error) => Err(LifecycleError::Panicked { source: error.into() }),
        }
    }
}

/// The first SIGTERM or SIGINT drains for so long and then stops softly; a second one stops at once.
pub fn stop_on_signals(stop: &Stop, drain: Duration) -> Result<(), LifecycleError> {
    let listen = |kind| signal(kind).map_err(|source| LifecycleError::Signals { source });
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    let stop = stop.clone();
    tokio::spawn(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
        tracing::info!(drain_ms = drain.as_millis(), "signal: stopping softly");
        stop.drain();
        let soft = async {
            tokio::time::sleep(drain).await;
            stop.soft();
            std::future::pending::<()>().await;
        };
        tokio::select! { () = soft => {}, _ = term.recv() => {}, _ = int.recv() => {} }
        tracing::warn!("second signal: stopping at once");
        std::process::exit(130);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_soft_stop_lets_work_in_hand_finish() {
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
    fn draining_stops_nobody_and_a_stop_drains_too() {
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
                LifecycleError::Ended { task } => assert_eq!((task, panics), ("short", false)),
                other => panic!("{other}"),
            }
        }
    }

    #[tokio::test]
    async fn what_does_not_end_is_ended() {
        let mut tasks = Tasks::new(Stop::new());
        tasks.grace = Duration::from_millis(20);
        tasks.spawn("stubborn", std::future::pending());
        tasks.stop().soft();
        assert!(matches!(tasks.run().await, Err(LifecycleError::Overran)));
    }
}
