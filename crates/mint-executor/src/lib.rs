//! Turns commands into exactly one on-chain effect each: the only holder of executor keys, the only sender of
//! transactions (docs/ARCHITECTURE.md).
//!
//! `commands` stores what comes from the queues, `signing` signs and stores attempts before it broadcasts them,
//! `following` takes in the chain block by block for all signers and applies the results; they know nothing of one
//! another. What two of them need lies below: the pure `rules` say what follows from facts, `state` is what this process
//! knows now. After a crash the rows are enough to continue.

pub mod app;
mod assembly;
mod attempts;
mod commands;
mod error;
mod following;
mod observe;
mod rules;
pub mod settings;
mod settling;
mod signing;
mod state;
pub mod steps;
mod upkeep;
mod work_items;

pub use observe::METRICS;
