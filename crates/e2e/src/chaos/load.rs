//! Customers who keep coming until the shop is closed.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;

use super::customers::Customers;

#[derive(Debug)]
pub struct Load {
    customers: Customers,
    pace: Duration,
    at_once: usize,
    come: AtomicUsize,
    closed: AtomicBool,
}

impl Load {
    pub const fn new(customers: Customers, pace: Duration, at_once: usize) -> Self {
        Self {
            customers,
            pace,
            at_once,
            come: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
        }
    }

    /// Ends when the shop was closed and everybody in it was served.
    pub async fn run(&self) -> Result<()> {
        let opened = tokio::time::Instant::now();
        let until_closed = (0..).take_while(|_| !self.closed.load(Ordering::SeqCst));
        let served = self.customers.come(until_closed, self.at_once, async |number| {
            tokio::time::sleep_until(opened + self.pace * u32::try_from(number).unwrap_or(u32::MAX)).await;
            self.come.fetch_add(1, Ordering::SeqCst);
        });
        served.await
    }

    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub fn come(&self) -> usize {
        self.come.load(Ordering::SeqCst)
    }
}
