//! The promises of the product are the tests beside this library; it holds what judges them (`ledger`) and what
//! breaks the product meanwhile (`chaos`), and the night on call (`rehearsal`). Everything runs the real services over real PostgreSQL, RabbitMQ and anvil.

pub mod chaos;
pub mod ledger;
pub mod rehearsal;
pub mod runbook;

/// 18 decimals.
pub const SHILLING: u128 = 1_000_000_000_000_000_000;
