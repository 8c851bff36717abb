//! The table of all exchanges, queues and bindings; `docs/QUEUES.md` is generated from it.
//!
//! Everything is durable and every work, delay and dead queue is a quorum queue with explicit limits, so that
//! RabbitMQ 3.10 and 4.x behave the same. Changing an argument requires a new queue version, because a broker refuses
//! to redeclare a queue with different arguments.

mod names;

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};

use crate::connection::{Broker, BrokerError};

pub use names::{Service, UnknownQueue, WorkQueue};

/// Delay queues return messages to this exchange, and the operator's command line publishes to it.
pub const WORK_EXCHANGE: &str = "fiatrails.work";
/// Receives parked messages and the broker's own dead letters.
pub const DEAD_EXCHANGE: &str = "fiatrails.dead";
/// Number of delay steps: one between each two of the 6 attempts.
pub const RETRY_STEPS: u32 = 5;

/// Number of redeliveries after which a message is handled alone.
pub const HANDLE_ALONE_FROM: u64 = 3;
/// Number of redeliveries after which we park a message.
pub const PARK_FROM: u64 = 20;
/// Number of redeliveries after which RabbitMQ dead-letters a message itself, as the last safeguard.
const WORK_DELIVERY_LIMIT: i64 = 100;
/// Practically no limit, because browsing a dead-letter queue counts as delivery. RabbitMQ 3.10 and 4.x interpret -1
/// differently.
const NO_DELIVERY_LIMIT: i64 = 1_000_000_000;

/// The exchange of a delay step (1..=5); higher numbers use the last step.
pub(crate) fn retry_exchange(step: u32) -> String {
    format!("fiatrails.retry.{}", step.clamp(1, RETRY_STEPS))
}

pub(crate) fn delay_queue(step: u32) -> String {
    format!("delay.{step}.v1")
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    Work,
    /// Holds copies until each expires, then passes them to `fiatrails.work` with their original routing key.
    Delay,
    Dead,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueSpec {
    pub name: String,
    pub kind: QueueKind,
    /// The broker refuses messages beyond this number and never drops any.
    pub max_length: i64,
    pub max_bytes: i64,
    pub delivery_limit: i64,
    /// The dead-letter exchange, and the routing key if it differs from the original one.
    pub dead_letter: Option<(&'static str, Option<&'static str>)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExchangeSpec {
    pub name: String,
    pub fanout: bool,
    pub purpose: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindingSpec {
    pub exchange: String,
    pub queue: String,
    /// Empty for fanout exchanges.
    pub routing_key: &'static str,
}

const MIB: i64 = 1024 * 1024;

/// Every queue.
pub fn queues() -> Vec<QueueSpec> {
    let work = WorkQueue::ALL.map(|q| QueueSpec {
        name: q.name().to_owned(),
        kind: QueueKind::Work,
        max_length: 1_000_000,
        max_bytes: 2048 * MIB,
        delivery_limit: WORK_DELIVERY_LIMIT,
        dead_letter: Some((DEAD_EXCHANGE, Some(q.name()))),
    });
    let delay = (1..=RETRY_STEPS).map(|n| QueueSpec {
        name: delay_queue(n),
        kind: QueueKind::Delay,
        max_length: 200_000,
        max_bytes: 1024 * MIB,
        delivery_limit: NO_DELIVERY_LIMIT,
        dead_letter: Some((WORK_EXCHANGE, None)),
    });
    let dead = WorkQueue::ALL.map(|q| QueueSpec {
        name: q.dead_letter_name().to_owned(),
        kind: QueueKind::Dead,
        max_length: 500_000,
        max_bytes: 1024 * MIB,
        delivery_limit: NO_DELIVERY_LIMIT,
        dead_letter: None,
    });
    work.into_iter().chain(delay).chain(dead).collect()
}

/// Every exchange.
pub fn exchanges() -> Vec<ExchangeSpec> {
    let direct = |name: &str, purpose| ExchangeSpec {
        name: name.to_owned(),
        fanout: false,
        purpose,
    };
    let mut all = vec![
        direct(WORK_EXCHANGE, "returns from the delay queues; operator's replays"),
        direct(
            DEAD_EXCHANGE,
            "parked messages; native dead letters of the work queues",
        ),
    ];
    for service in Service::ALL.into_iter().filter(|s| s.ingress() != WORK_EXCHANGE) {
        all.push(direct(service.ingress(), "new messages of one service"));
    }
    for n in 1..=RETRY_STEPS {
        let purpose = "waits of one retry step; keeps the routing key of the work queue";
        all.push(ExchangeSpec {
            name: retry_exchange(n),
            fanout: true,
            purpose,
        });
    }
    all
}

/// Every binding.
pub fn bindings() -> Vec<BindingSpec> {
    let bind = |exchange: &str, queue: &str, routing_key| BindingSpec {
        exchange: exchange.to_owned(),
        queue: queue.to_owned(),
        routing_key,
    };
    let mut all = Vec::new();
    for q in WorkQueue::ALL {
        all.push(bind(WORK_EXCHANGE, q.name(), q.name()));
        all.push(bind(DEAD_EXCHANGE, q.dead_letter_name(), q.name()));
    }
    for service in Service::ALL.into_iter().filter(|s| s.ingress() != WORK_EXCHANGE) {
        all.extend(
            service
                .writes()
                .iter()
                .map(|q| bind(service.ingress(), q.name(), q.name())),
        );
    }
    all.extend((1..=RETRY_STEPS).map(|n| bind(&retry_exchange(n), &delay_queue(n), "")));
    all
}

impl QueueSpec {
    /// The declaration's arguments, in the order of the documentation.
    pub fn arguments(&self) -> Vec<(&'static str, Argument)> {
        let mut all = vec![
            ("x-queue-type", Argument::Text("quorum")),
            ("x-overflow", Argument::Text("reject-publish")),
            ("x-max-length", Argument::Number(self.max_length)),
            ("x-max-length-bytes", Argument::Number(self.max_bytes)),
            ("x-delivery-limit", Argument::Number(self.delivery_limit)),
        ];
        if let Some((exchange, key)) = self.dead_letter {
            all.push(("x-dead-letter-strategy", Argument::Text("at-least-once")));
            all.push(("x-dead-letter-exchange", Argument::Text(exchange)));
            all.extend(key.map(|key| ("x-dead-letter-routing-key", Argument::Text(key))));
        }
        all
    }

    fn table(&self) -> FieldTable {
        let mut table = FieldTable::default();
        for (name, argument) in self.arguments() {
            let value = match argument {
                Argument::Text(text) => AMQPValue::LongString(text.into()),
                Argument::Number(number) => AMQPValue::LongLongInt(number),
            };
            table.insert(name.into(), value);
        }
        table
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    Text(&'static str),
    Number(i64),
}

/// Declares the whole topology; repeating it changes nothing. Needs a user with configure permission (the operator's).
pub async fn declare_all(broker: &Broker) -> Result<(), BrokerError> {
    let channel = broker.publish_channel().await?;
    let durable = ExchangeDeclareOptions {
        durable: true,
        ..Default::default()
    };
    for spec in exchanges() {
        let kind = if spec.fanout {
            ExchangeKind::Fanout
        } else {
            ExchangeKind::Direct
        };
        let declared =
            channel.exchange_declare(short_string(&spec.name), kind, durable, FieldTable::default());
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
        let kind = if spec.fanout {
            ExchangeKind::Fanout
        } else {
            ExchangeKind::Direct
        };
        let declared =
            channel.exchange_declare(short_string(&spec.name), kind, passive, FieldTable::default());
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
        crate::observe::queue_depth(spec.kind, &spec.name, ready);
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

pub(crate) fn short_string(text: &str) -> ShortString {
    text.into()
}

#[cfg(test)]
mod tests;
