//! The only public service: it authenticates requests, parses them once, stores them and answers (docs/PROTOCOL.md).
//!
//! It never talks to the chain, holds no chain key and decides nothing about money. What it accepts is durable before it
//! answers; the messages that follow leave through the outbox.

pub mod answers;
pub mod app;
pub mod auth;
mod body;
mod connections;
pub mod error;
mod exchange;
mod headers;
mod heartbeat;
mod intake;
pub mod keys;
mod new_intent;
pub mod observe;
mod redrive;
mod routes;
mod schemas;
pub mod settings;
mod state;
mod tls;
mod upkeep;

pub use routes::openapi::ApiDescription;
