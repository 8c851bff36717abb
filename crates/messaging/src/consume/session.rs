//! One subscription to a queue, from `basic.consume` to `basic.cancel`, on its own channel.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::delivery::{Delivery, RawDelivery};
use super::disposition::{DeliveryResult, Disposition};
use super::parts::{ConsumerConfig, ConsumerParts};
use super::settle::settle;
use super::triage::{Triaged, triage};
use crate::amqp::short_string;
use crate::backoff::sleep_or_shutdown;
use crate::connection::BrokerError;
use crate::names::WorkQueue;
use crate::observe;
use crate::wire::Body;

/// The pause after a crash or a `Return`, so that a failing dependency is not hit in a tight loop.
const PAUSE_AFTER_CRASH: Duration = Duration::from_millis(250);

pub(super) struct ConsumerSession<'a> {
    parts: &'a ConsumerParts,
    config: ConsumerConfig,
    queue: WorkQueue,
    channel: lapin::Channel,
    consumer: lapin::Consumer,
}

/// Deliveries that wait for the handler, and deliveries that were decided without it.
struct Batch<B> {
    waiting: Vec<(RawDelivery, Box<Delivery<B>>)>,
    decided: Vec<(RawDelivery, DeliveryResult)>,
    flush_at: Option<Instant>,
}

impl<B> Default for Batch<B> {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            decided: Vec::new(),
            flush_at: None,
        }
    }
}

impl<B> Batch<B> {
    fn len(&self) -> usize {
        self.waiting.len() + self.decided.len()
    }
}

impl<'a> ConsumerSession<'a> {
    pub async fn open(
        parts: &'a ConsumerParts,
        config: ConsumerConfig,
        queue: WorkQueue,
    ) -> Result<Self, BrokerError> {
        let broker = &parts.broker;
        let channel = broker.consume_channel().await?;
        broker
            .with_timeout(
                "basic.qos",
                channel.basic_qos(config.prefetch, BasicQosOptions::default()),
            )
            .await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consume = channel.basic_consume(short_string(queue.name()), short_string(""), options, arguments);
        let consumer = broker.with_timeout("basic.consume", consume).await?;
        Ok(Self {
            parts,
            config,
            queue,
            channel,
            consumer,
        })
    }

    /// Returns `Ok` when the gate closed or at shutdown, and `Err` when the connection was lost.
    pub async fn run<B, H, F>(
        mut self,
        handler: &H,
        gate: &mut watch::Receiver<bool>,
        shutdown: &CancellationToken,
    ) -> Result<(), BrokerError>
    where
        B: Body,
        H: Fn(Vec<Delivery<B>>) -> F + Send + Sync + 'static,
        F: Future<Output = Vec<Disposition>> + Send + 'static,
    {
        let mut batch = Batch::<B>::default();
        let ended = loop {
            let flush_at = batch.flush_at;
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break Ok(()),
                () = gate_closed(gate) => break Ok(()),
                () = sleep_until(flush_at) => self.flush(&mut batch, handler, shutdown).await,
                next = self.consumer.next() => match next {
                    Some(Ok(delivery)) => self.on_delivery(delivery, &mut batch, handler, shutdown).await,
                    Some(Err(source)) => break Err(BrokerError::Amqp { call: "basic.deliver", source }),
                    None => break Err(BrokerError::Missing {
                        name: self.queue.name().to_owned(),
                        source: Box::new(BrokerError::TimedOut { call: "basic.deliver" }),
                    }),
                },
            }
        };
        self.close(batch, shutdown).await;
        ended
    }

    async fn on_delivery<B, H, F>(
        &mut self,
        delivery: lapin::message::Delivery,
        batch: &mut Batch<B>,
        handler: &H,
        shutdown: &CancellationToken,
    ) where
        B: Body,
        H: Fn(Vec<Delivery<B>>) -> F + Send + Sync + 'static,
        F: Future<Output = Vec<Disposition>> + Send + 'static,
    {
        let raw = RawDelivery::new(delivery, self.queue);
        match triage(&raw, &self.parts.opener) {
            Triaged::Handle(delivery) => batch.waiting.push((raw, delivery)),
            Triaged::Decided(result) => batch.decided.push((raw, result)),
            Triaged::HandleAlone(delivery) => {
                let mut alone = Batch {
                    waiting: vec![(raw, delivery)],
                    ..Batch::default()
                };
                self.flush(&mut alone, handler, shutdown).await;
            }
        }
        if batch.len() >= self.config.max_batch {
            self.flush(batch, handler, shutdown).await;
        } else if batch.len() > 0 && batch.flush_at.is_none() {
            batch.flush_at = Some(Instant::now() + self.config.linger);
        }
    }

    /// Runs the handler on the collected batch and settles it.
    async fn flush<B, H, F>(&self, batch: &mut Batch<B>, handler: &H, shutdown: &CancellationToken)
    where
        B: Body,
        H: Fn(Vec<Delivery<B>>) -> F + Send + Sync + 'static,
        F: Future<Output = Vec<Disposition>> + Send + 'static,
    {
        let Batch {
            waiting, mut decided, ..
        } = std::mem::take(batch);
        let (raws, deliveries): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
        let results = self
            .run_handler(deliveries.into_iter().map(|d| *d).collect(), handler)
            .await;
        let back_off = results.iter().any(|v| {
            matches!(
                v,
                DeliveryResult::Crashed | DeliveryResult::Settle(Disposition::Return)
            )
        });
        decided.extend(raws.into_iter().zip(results));
        settle(decided, self.parts, shutdown).await;
        if back_off {
            sleep_or_shutdown(PAUSE_AFTER_CRASH, shutdown).await;
        }
    }

    /// Runs the handler on its own task, so that a panic can be caught.
    async fn run_handler<B, H, F>(&self, deliveries: Vec<Delivery<B>>, handler: &H) -> Vec<DeliveryResult>
    where
        B: Body,
        H: Fn(Vec<Delivery<B>>) -> F + Send + Sync + 'static,
        F: Future<Output = Vec<Disposition>> + Send + 'static,
    {
        let count = deliveries.len();
        if count == 0 {
            return Vec::new();
        }
        let ids: Vec<_> = deliveries.iter().map(|d| d.message_id).collect();
        let handled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| handler(deliveries)));
        let answer = match handled {
            Ok(future) => tokio::spawn(future).await.map_err(|error| error.to_string()),
            Err(_) => Err("the handler panicked before its first await".to_owned()),
        };
        match answer {
            Ok(dispositions) if dispositions.len() == count => {
                dispositions.into_iter().map(DeliveryResult::Settle).collect()
            }
            Ok(dispositions) => self.record_crash(
                &ids,
                &format!("{} answers for {count} messages", dispositions.len()),
            ),
            Err(error) => self.record_crash(&ids, &error),
        }
    }

    fn record_crash(&self, ids: &[domain::ids::MessageId], why: &str) -> Vec<DeliveryResult> {
        observe::handler_crashed(self.queue);
        tracing::error!(queue = %self.queue, message_ids = ?ids, why, "handler crashed; its batch will be redelivered");
        ids.iter().map(|_| DeliveryResult::Crashed).collect()
    }

    /// Cancels the subscription and returns all messages that the handler has not started.
    async fn close<B: Body>(mut self, batch: Batch<B>, shutdown: &CancellationToken) {
        let broker = &self.parts.broker;
        if self.channel.status().connected() {
            let cancel = self
                .channel
                .basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
            let cancelled = broker.with_timeout("basic.cancel", cancel).await.is_ok();
            let mut rest: Vec<(RawDelivery, DeliveryResult)> = batch.decided;
            let back = || DeliveryResult::Settle(Disposition::Return);
            rest.extend(batch.waiting.into_iter().map(|(raw, _)| (raw, back())));
            while cancelled && let Some(Ok(delivery)) = self.consumer.next().await {
                rest.push((RawDelivery::new(delivery, self.queue), back()));
            }
            settle(rest, self.parts, shutdown).await;
        }
        broker.close_channel(&self.channel).await;
    }
}

/// Resolves once the gate is closed. Never resolves if the gate's sender was dropped.
async fn gate_closed(gate: &mut watch::Receiver<bool>) {
    if gate.wait_for(|open| !*open).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
