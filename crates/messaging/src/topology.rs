//! All exchanges, queues and bindings: the table of them, and what the broker has of it.

mod declare;
mod table;

pub use crate::names::{DEAD_EXCHANGE, RETRY_STEPS, Service, UnknownQueue, WORK_EXCHANGE, WorkQueue};
pub use declare::{QueueDepth, declare_all, depths, verify};
pub use table::{Argument, BindingSpec, ExchangeSpec, QueueKind, QueueSpec, bindings, exchanges, queues};
