//! Every AMQP detail and the shape of each message (docs/QUEUES.md, docs/SEALS.md); the only crate that uses lapin.
//!
//! A message is built by a [`seal::Sealer`] from a typed [`wire`] body, leaves through a
//! [`publish::Publisher`], and reaches a handler through a [`consume::Consumer`], which verifies its seal first. A
//! message that cannot be handled is parked on a dead-letter queue ([`dead_letters`]) together with a failure report.
//!
//! Each module uses only those of the floors below it: names, envelope; wire, failure report; seal, connection;
//! topology, publishing; dead letters, consuming.
//!
//! The crate refuses unsealed or foreign bytes, unconfirmed publishing, and retries by requeueing at the broker.

mod amqp;
mod backoff;
pub mod connection;
pub mod consume;
pub mod dead_letters;
pub mod envelope;
mod failure_report;
mod names;
pub mod observe;
pub mod permissions;
pub mod publish;
pub mod seal;
pub mod topology;
pub mod wire;

#[cfg(test)]
mod test_docs;

pub use connection::{Broker, BrokerConfig, BrokerError};
pub use consume::{Consumer, ConsumerConfig, ConsumerParts, Delivery, Disposition, Failure};
pub use names::{Service, WorkQueue};
pub use publish::{Outgoing, PublishError, Publisher};
pub use seal::{
    MessageMetadata, OpenError, OpenedMessage, Opener, PipelineKeys, SealError, SealedMessage, Sealer,
    SharedPipelineKeys,
};
