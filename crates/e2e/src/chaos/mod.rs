//! Runs the product and breaks it on purpose: customers pay, a seeded schedule injects faults in between, and once the
//! system is healthy again the ledger is checked.

mod customer_plan;
mod customers;
mod fault;
mod fault_counts;
mod kill_points;
mod load;
mod memory;
mod params;
mod progress;
mod results;
mod rotation;
mod run;
mod scenarios;
mod schedule;
mod system;

pub use customer_plan::BehaviourMix;
pub use customers::{Customers, users};
pub use load::Load;
pub use params::Params;
pub use results::{ScenarioResult, table};
pub use run::run;
pub use scenarios::{ALL, Scenario, by_name};
pub use system::{Infrastructure, Setup, System};
