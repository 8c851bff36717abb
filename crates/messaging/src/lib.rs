//! Every AMQP detail and the shape of each message (docs/QUEUES.md, docs/SEALS.md); the only room that knows lapin.
//!
//! A message is built by a [`seal::Sealer`] from a typed [`wire`] body, leaves through a
//! [`publish::Publisher`], and reaches a handler through a [`consume::Consumer`], which has opened its seal
//! before. What cannot be handled lies on a dead-letter queue ([`dead_letters`]) with its whole story.
//!
//! Refuses: unsealed or foreign bytes, unconfirmed publishing, retry by broker requeue.

pub mod connection;
pub mod consume;
pub mod dead_letters;
pub mod envelope;
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
pub use publish::{Outgoing, PublishError, Publisher};
pub use seal::{
    OpenError, Opened, Opener, PipelineKeys, SealError, SealedMessage, Sealer, SharedPipelineKeys, Stamp,
};
pub use topology::{Service, WorkQueue};
