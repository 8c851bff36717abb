//! Work that is done again and again until the stop: once at the start, then a period after each end. A failure ends
//! nothing, because the next run may succeed; metrics show when a task last succeeded.

use std::error::Error;
use std::future::{Future, pending};
use std::time::Duration;

use domain::clock::{Clock, SystemSource};
use tokio::sync::watch;

use crate::observe;
use crate::stop::Stop;

/// What a periodic task does each time. Closures that return a future are tasks; a task with a memory is a struct.
pub trait Periodic: Send + 'static {
    type Error: Error + Send;

    fn run(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Runs once after the stop, when no run is left.
    fn end(&mut self) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

impl<W, F, E> Periodic for W
where
    W: FnMut() -> F + Send + 'static,
    F: Future<Output = Result<(), E>> + Send,
    E: Error + Send,
{
    type Error = E;

    fn run(&mut self) -> impl Future<Output = Result<(), E>> + Send {
        self()
    }
}

/// When a task runs, besides at the start.
#[derive(Debug)]
pub struct Schedule<T = ()> {
    name: &'static str,
    period: Duration,
    /// A change of the value runs the task early.
    wake: Option<watch::Receiver<T>>,
    stop: Stop,
}

impl Schedule {
    pub fn new(name: &'static str, period: Duration, stop: Stop) -> Self {
        Self {
            name,
            period,
            wake: None,
            stop,
        }
    }

    /// Runs the task early too, whenever `wake` changes.
    pub fn or_when<T>(self, wake: watch::Receiver<T>) -> Schedule<T> {
        Schedule {
            name: self.name,
            period: self.period,
            wake: Some(wake),
            stop: self.stop,
        }
    }
}

impl<T: Send + Sync> Schedule<T> {
    /// Runs `task` until the stop; a run that has begun ends first.
    pub async fn repeat(mut self, mut task: impl Periodic) {
        observe::TASK_PERIOD.set([self.name], self.period.as_secs_f64());
        observe::TASK_FAILURES.add([self.name], 0);
        // A task that never succeeds is late from the start on.
        observe::task_succeeded(self.name, SystemSource.unix_seconds());
        let mut failures = 0_u32;
        while !self.stop.is_requested() {
            match task.run().await {
                Ok(()) => {
                    observe::task_succeeded(self.name, SystemSource.unix_seconds());
                    if failures > 0 {
                        tracing::info!(
                            task = self.name,
                            failed = failures,
                            "a periodic task succeeds again"
                        );
                    }
                    failures = 0;
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    observe::task_failed(self.name, failures, &error);
                }
            }
            self.wait().await;
        }
        task.end().await;
    }

    async fn wait(&mut self) {
        let woken = async {
            let changed = match &mut self.wake {
                Some(wake) => wake.changed().await.is_ok(),
                None => false,
            };
            if !changed {
                // Nobody can change it: the period alone counts.
                pending::<()>().await;
            }
        };
        tokio::select! {
            _ = self.stop.sleep(self.period) => {}
            () = woken => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    use super::*;

    const AT_ONCE: Duration = Duration::from_millis(1);
    const NEVER: Duration = Duration::from_hours(1);

    #[derive(Debug, thiserror::Error)]
    #[error("on purpose")]
    struct Failed;

    /// A task that fails in its first run, and the numbers of its runs.
    fn counting() -> (impl Periodic, UnboundedReceiver<u32>) {
        let (sender, runs) = unbounded_channel();
        let mut run = 0;
        let task = move || {
            run += 1;
            sender.send(run).unwrap();
            std::future::ready(if run == 1 { Err(Failed) } else { Ok(()) })
        };
        (task, runs)
    }

    #[tokio::test]
    async fn it_runs_at_the_start_and_after_each_period_also_after_a_failure_until_the_stop() {
        let (stop, (task, mut runs)) = (Stop::new(), counting());
        let task = tokio::spawn(Schedule::new("counts", AT_ONCE, stop.clone()).repeat(task));
        for expected in 1..=4 {
            assert_eq!(runs.recv().await, Some(expected));
        }
        stop.soft();
        task.await.unwrap();
    }

    #[tokio::test]
    async fn a_change_runs_it_early_and_a_lost_sender_leaves_the_period() {
        let (stop, (task, mut runs)) = (Stop::new(), counting());
        let (wake, woken) = watch::channel(());
        let schedule = Schedule::new("counts", NEVER, stop.clone()).or_when(woken);
        let task = tokio::spawn(schedule.repeat(task));
        assert_eq!(runs.recv().await, Some(1));
        wake.send_replace(());
        assert_eq!(runs.recv().await, Some(2), "no period has passed");
        drop(wake);
        let again = tokio::time::timeout(Duration::from_millis(50), runs.recv()).await;
        assert!(again.is_err(), "{again:?}");
        stop.soft();
        task.await.unwrap();
    }
}
