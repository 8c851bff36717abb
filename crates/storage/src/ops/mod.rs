//! What the operator's command line reads and writes. Its reads join the tables of all services; it writes only
//! its own tables and the resolution of exceptions.

pub mod audit;
pub mod dead_letters;
pub mod exceptions;
pub mod intent_macs;
pub mod intents;
pub mod keys;
pub mod logins;
pub mod reconcile;
pub mod reports;
pub mod restore;
pub mod signers;
pub mod statement;

/// Every statement of this module, for the test that prepares them all.
pub(crate) const STATEMENTS: &[&[(&str, &str)]] = &[
    audit::STATEMENTS,
    dead_letters::STATEMENTS,
    exceptions::STATEMENTS,
    intent_macs::STATEMENTS,
    intents::STATEMENTS,
    keys::STATEMENTS,
    logins::STATEMENTS,
    reconcile::STATEMENTS,
    reports::STATEMENTS,
    restore::STATEMENTS,
    statement::STATEMENTS,
    signers::STATEMENTS,
];
