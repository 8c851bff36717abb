//! The table of all exchanges, queues and bindings; `docs/QUEUES.md` is generated from it.
//!
//! Everything is durable and every work, delay and dead queue is a quorum queue with explicit limits, so that
//! RabbitMQ 3.10 and 4.x behave the same. Changing an argument requires a new queue version, because a broker refuses
//! to redeclare a queue with different arguments.

use lapin::types::{AMQPValue, FieldTable};

use crate::names::{
    DEAD_EXCHANGE, RETRY_STEPS, Service, WORK_EXCHANGE, WorkQueue, delay_queue, retry_exchange,
};

/// Number of redeliveries after which RabbitMQ dead-letters a message itself, as the last safeguard.
const WORK_DELIVERY_LIMIT: i64 = 100;
/// Practically no limit, because browsing a dead-letter queue counts as delivery. RabbitMQ 3.10 and 4.x interpret -1
/// differently.
const NO_DELIVERY_LIMIT: i64 = 1_000_000_000;

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

    pub(super) fn table(&self) -> FieldTable {
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

#[cfg(test)]
mod tests;
