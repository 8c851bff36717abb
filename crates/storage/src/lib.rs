//! Every SQL statement, and nothing else: PostgreSQL's one owner.
//!
//! One statement takes a [`Session`] (a client or a transaction), several that must stand together take a
//! `&Transaction`. Every statement is declared by [`statements!`], so that one test can prepare them all on a
//! migrated database. Errors say what the caller can do.

#[macro_use]
mod statements;

pub mod callback;
pub mod clock;
pub mod error;
pub mod executor;
pub mod fate;
pub mod gateway;
pub mod halts;
pub mod inbox;
pub mod key_usage;
pub mod migrate;
pub mod observe;
pub mod ops;
pub mod outbox;
pub mod pool;
pub mod row;
mod session;
mod settled;

pub use error::{ConflictKind, StorageError};
pub use inbox::Inbox;
pub use key_usage::PipelineKeyUsage;
pub use outbox::Outbox;
pub use pool::{DbClient, DbTransaction, Pool, PoolConfig};
pub use session::DbSession;
pub use tokio_postgres::types::ToSql;

/// Name and text of every statement this crate can send.
pub fn statements() -> Vec<(&'static str, &'static str)> {
    statements::all()
}
