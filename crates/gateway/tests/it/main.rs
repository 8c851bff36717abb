//! The gateway over real HTTP, PostgreSQL and RabbitMQ.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "the rig is test code outside of test functions: a panic is its way to fail"
)]

mod callbacks;
mod codes;
mod happy;
mod idempotency;
mod readiness;
mod redrives;
mod rig;
mod signatures;
mod storms;
mod tampering;
mod transport;
