//! Commands come in here, and what a person must look at goes out as dead letters.

pub mod consume;
pub mod dead_letters;

pub use consume::{CommandBody, Intake};
pub use dead_letters::DeadLetterPublisher;
