//! The gateway over real HTTP, PostgreSQL and RabbitMQ.

mod callbacks;
mod codes;
mod happy;
mod idempotency;
mod limits;
mod rig;
mod signatures;
mod storms;
mod tampering;
mod transport;
