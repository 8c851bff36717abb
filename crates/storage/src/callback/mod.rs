//! Tables that the callback service writes: decisions, payments, outcomes of reports, exceptions, history; and what it
//! reads of other services' tables.

pub mod decisions;
pub mod exceptions;
pub mod payments;
pub mod reconcile;
pub mod reports;
pub mod sweeps;

/// Every statement of this room.
pub(crate) const STATEMENTS: &[&[(&str, &str)]] = &[
    decisions::STATEMENTS,
    exceptions::STATEMENTS,
    payments::STATEMENTS,
    reconcile::STATEMENTS,
    reports::STATEMENTS,
    sweeps::STATEMENTS,
];
