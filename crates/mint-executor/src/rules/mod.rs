//! What follows from facts: values in, values out. No clock, no database, no node, no state: the tables of the tests hold
//! the hard cases of the executor.

pub mod batching;
pub mod conditions;
pub mod deployment;
pub mod eligibility;
pub mod in_flight_limit;
pub mod lateness;
pub mod next_step;
pub mod poll_schedule;
pub mod queue;
pub mod record;
pub mod simulation;
