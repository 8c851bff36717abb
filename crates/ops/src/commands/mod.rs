//! One module per command.

pub mod audit;
pub mod compliance;
pub mod dlq;
pub mod exceptions;
pub mod halt;
pub mod intent;
pub mod keys;
pub mod logins;
pub mod migrate;
pub mod payments;
pub mod reconcile;
pub mod restore;
pub mod sign;
pub mod signer;
pub mod topology;
