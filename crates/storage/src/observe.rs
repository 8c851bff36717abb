//! Metrics of this crate.

use meter::{Counter, Gauge, Histogram};

meter::declare! {
    POOL_WAIT: Histogram<0> = Histogram::new(
        "fiatrails_db_pool_wait_seconds", "Wait for a database connection.", []);
    POOL_IN_USE: Gauge<0> = Gauge::new("fiatrails_db_pool_in_use", "Database connections in use.", []);
    POOL_FAILURES: Counter<0> = Counter::new(
        "fiatrails_db_pool_failures_total", "Database connections that could not be had in time.", []);
}
