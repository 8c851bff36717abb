//! Customers who keep arriving until they are stopped.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;

use super::customers::Customers;

#[derive(Debug)]
pub struct Load {
    customers: Customers,
    /// Least time between two arrivals.
    interval: Duration,
    at_once: usize,
    arrived: AtomicUsize,
    stopped: AtomicBool,
}

impl Load {
    pub const fn new(customers: Customers, interval: Duration, at_once: usize) -> Self {
        Self {
            customers,
            interval,
            at_once,
            arrived: AtomicUsize::new(0),
            stopped: AtomicBool::new(false),
        }
    }

    /// Ends when it was stopped and every customer who arrived has been answered.
    pub async fn run(&self) -> Result<()> {
        let started = tokio::time::Instant::now();
        let until_stopped = (0..).take_while(|_| !self.stopped.load(Ordering::SeqCst));
        let answered = self.customers.run(until_stopped, self.at_once, async |number| {
            tokio::time::sleep_until(started + self.interval * u32::try_from(number).unwrap_or(u32::MAX))
                .await;
            self.arrived.fetch_add(1, Ordering::SeqCst);
        });
        answered.await
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    pub fn arrived(&self) -> usize {
        self.arrived.load(Ordering::SeqCst)
    }
}
