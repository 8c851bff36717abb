//! The topology at the broker: declare it, check that it is there, read how much waits in it.

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::FieldTable;

use super::table::{ExchangeSpec, QueueKind, bindings, exchanges, queues};
use crate::amqp::short_string;
use crate::connection::{Broker, BrokerError};
use crate::observe;

/// Declares the whole topology; repeating it changes nothing. Needs a user with configure permission (the operator's).
pub async fn declare_all(broker: &Broker) -> Result<(), BrokerError> {
    let channel = broker.publish_channel().await?;
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..Default::default()
    };
    for spec in exchanges() {
        let (name, kind) = (short_string(&spec.name), kind_of(&spec));
        let declared = channel.exchange_declare(name, kind, durable, FieldTable::default());
        broker.with_timeout("exchange.declare", declared).await?;
    }
    let durable = QueueDeclareOptions {
        durable: true,
        ..Default::default()
    };
    for spec in queues() {
        let declared = channel.queue_declare(short_string(&spec.name), durable, spec.table());
        broker.with_timeout("queue.declare", declared).await?;
    }
    for spec in bindings() {
        let (queue, exchange, key) = (
            short_string(&spec.queue),
            short_string(&spec.exchange),
            spec.routing_key.into(),
        );
        let bound = channel.queue_bind(
            queue,
            exchange,
            key,
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        broker.with_timeout("queue.bind", bound).await?;
    }
    broker.close_channel(&channel).await;
    Ok(())
}

/// Fails with the name of the first exchange or queue that does not exist. Needs no permission, so services can check at
/// start-up.
pub async fn verify(broker: &Broker) -> Result<(), BrokerError> {
    let channel = broker.publish_channel().await?;
    let passive = ExchangeDeclareOptions {
        passive: true,
        durable: true,
        ..Default::default()
    };
    for spec in exchanges() {
        let (name, kind) = (short_string(&spec.name), kind_of(&spec));
        let declared = channel.exchange_declare(name, kind, passive, FieldTable::default());
        let missing = |error| BrokerError::Missing {
            name: spec.name.clone(),
            source: Box::new(error),
        };
        broker
            .with_timeout("exchange.declare", declared)
            .await
            .map_err(missing)?;
    }
    for spec in queues() {
        message_count(broker, &channel, &spec.name).await?;
    }
    broker.close_channel(&channel).await;
    Ok(())
}

fn kind_of(exchange: &ExchangeSpec) -> ExchangeKind {
    if exchange.fanout {
        ExchangeKind::Fanout
    } else {
        ExchangeKind::Direct
    }
}

/// Number of ready messages in one queue. Over AMQP, RabbitMQ reports neither unacknowledged messages nor messages on
/// their way to a dead-letter queue (`messages_dlx`); only the management API does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    pub queue: String,
    pub kind: QueueKind,
    pub ready: u32,
}

/// Reads the depth of every queue and sets the `fiatrails_queue_depth` and `fiatrails_dlq_depth` gauges.
pub async fn depths(broker: &Broker) -> Result<Vec<QueueDepth>, BrokerError> {
    let channel = broker.publish_channel().await?;
    let mut all = Vec::new();
    for spec in queues() {
        let ready = message_count(broker, &channel, &spec.name).await?;
        match spec.kind {
            QueueKind::Dead => observe::dead_letter_depth(&spec.name, ready),
            QueueKind::Work | QueueKind::Delay => observe::queue_depth(&spec.name, ready),
        }
        all.push(QueueDepth {
            queue: spec.name,
            kind: spec.kind,
            ready,
        });
    }
    broker.close_channel(&channel).await;
    Ok(all)
}

async fn message_count(broker: &Broker, channel: &lapin::Channel, queue: &str) -> Result<u32, BrokerError> {
    let passive = QueueDeclareOptions {
        passive: true,
        durable: true,
        ..Default::default()
    };
    let declared = channel.queue_declare(short_string(queue), passive, FieldTable::default());
    let declared = broker.with_timeout("queue.declare", declared).await;
    declared
        .map(|queue| queue.message_count())
        .map_err(|error| match error {
            BrokerError::Amqp { .. } => BrokerError::Missing {
                name: queue.to_owned(),
                source: Box::new(error),
            },
            other => other,
        })
}
