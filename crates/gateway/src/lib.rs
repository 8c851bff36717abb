//! The only public door: authenticate, parse once, remember, answer (docs/PROTOCOL.md).
//!
//! Never talks to the chain, holds no chain key, decides nothing about money. What it accepts is durable before it
//! is answered; what follows from it leaves through the outbox.

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
pub mod openapi;
mod redrive;
mod routes;
pub mod settings;
mod state;
mod tls;
mod upkeep;
