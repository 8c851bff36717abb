//! Makes M-Pesa's story and ours agree: from payment reports and chain outcomes it decides execute, refund or hold.
//! It never sends a transaction, and commands a mint only from a stored report whose MAC verified at that moment.
//!
//! [`judge`] decides, purely; [`case`] is one txRef under its lock and the only door to its row; [`report`],
//! [`outcome`] and [`sweep`] bring facts to it.

pub mod app;
pub mod case;
pub mod desk;
pub mod judge;
pub mod observe;
pub mod outcome;
pub mod reconcile;
pub mod report;
pub mod sweep;
mod work;

pub use app::App;
pub use desk::Desk;
