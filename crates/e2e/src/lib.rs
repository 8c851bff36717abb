//! The tests beside this library check the promises of the product. The library audits the books (`ledger`), injects
//! faults (`chaos`) and rehearses outages on call (`rehearsal`). Everything runs the real services over real PostgreSQL,
//! RabbitMQ and anvil.

pub mod chaos;
pub mod ledger;
pub mod rehearsal;
pub mod runbook;

/// 18 decimals.
pub const SHILLING: u128 = 1_000_000_000_000_000_000;
