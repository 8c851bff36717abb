//! Group commit: requests that arrive together share one transaction, each gets its own answer.
//!
//! A lock, deadlock or unique failure, or one bad row, runs the members of a group singly; an unknown commit
//! claims nothing.

mod door;
mod group;
pub mod in_flight;
pub mod intents;
pub mod reports;
mod unpaid;

pub use group::Rules;
