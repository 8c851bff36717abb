//! The running product, broken on purpose: customers come, faults are done in between by a seeded schedule, and when all
//! is calm again the ledger is checked.

mod customers;
mod fault;
mod load;
mod memory;
mod points;
mod report;
mod rotation;
mod run;
mod scenarios;
mod schedule;
mod stage;
mod story;
mod watch;

pub use customers::{Customers, users};
pub use load::Load;
pub use report::{Row, table};
pub use run::{Params, play};
pub use scenarios::{ALL, Scenario, by_name};
pub use stage::{Ground, Setup, Stage};
pub use story::Mix;
