//! What an intent, a payment and an amount are, and which moves are legal.
//!
//! Pure: no I/O, no clock of its own, no randomness, none of our other crates. Everything that decides about
//! money is here, so that it can be tested as a table.

pub mod address;
pub mod clock;
pub mod country;
pub mod decision;
pub mod evidence;
pub mod idempotency;
pub mod ids;
pub mod intent;
pub mod intent_mac;
pub mod key_ring;
pub mod money;
pub mod payment;
pub mod phone;
pub mod policy;
pub mod retry;
pub mod signature;
pub mod tx_ref;
