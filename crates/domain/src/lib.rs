//! Intents, payments, amounts and keys, and the rules that decide about them.
//!
//! Pure: no I/O, no clock, no randomness, no other crate of ours. Every decision about money is here, so that table
//! tests cover it.

pub mod address;
pub mod backoff;
pub mod clock;
pub mod command;
pub mod country;
pub mod decision;
mod error_chain;
pub mod evidence;
pub mod exception;
pub mod fate;
pub mod idempotency;
pub mod ids;
pub mod intent;
pub mod intent_mac;
pub mod item_result;
pub mod key_ring;
pub mod key_state;
pub mod money;
pub mod payment;
pub mod phone;
pub mod policy;
pub mod report_outcome;
pub mod retry;
pub mod settlement;
pub mod signature;
mod text_type;
pub mod tx_ref;
mod variants;

pub use error_chain::error_chain;
pub use variants::variants;
