//! What was signed and stored: reading it back, and sending it.

pub mod broadcast;
pub mod stored_bytes;

pub use broadcast::Broadcaster;
