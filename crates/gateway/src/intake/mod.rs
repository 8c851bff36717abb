//! Batching: requests that arrive together share one transaction, and each gets its own answer.
//!
//! After a lock time-out, deadlock, unique violation or bad row, the requests of a batch run one by one. After a commit
//! with unknown result, the answers claim nothing.

mod batch;
mod batch_queue;
mod daily_limit;
pub mod in_flight;
pub mod intents;
pub mod reports;
pub mod submission;
mod unpaid;

pub use batch::IntakeLimits;
