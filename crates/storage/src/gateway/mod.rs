//! Tables that the gateway writes, and what it reads of other services' tables.

pub mod heartbeat;
pub mod idempotency;
pub mod intents;
pub mod keys;
pub mod limits;
pub mod redrive;
pub mod reports;
pub mod views;

/// Every statement of this module, for the test that prepares them all.
pub(crate) const STATEMENTS: &[&[(&str, &str)]] = &[
    heartbeat::STATEMENTS,
    idempotency::STATEMENTS,
    intents::STATEMENTS,
    keys::STATEMENTS,
    limits::STATEMENTS,
    redrive::STATEMENTS,
    reports::STATEMENTS,
    views::STATEMENTS,
];
