//! One stay on the queue: from `basic.consume` to the cancel, on a channel of its own.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use lapin::options::{BasicCancelOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plan::Verdict;
use super::settle::settle;
use super::triage::{Raw, Triaged};
use super::{ConsumerConfig, ConsumerParts, Delivery, Disposition, pause};
use crate::connection::BrokerError;
use crate::observe;
use crate::topology::{WorkQueue, short};
use crate::wire::Body;

/// After a crash or a `Return`: whatever is wrong needs a moment.
const BREATH: Duration = Duration::from_millis(250);

pub(super) struct Session<'a> {
    parts: &'a ConsumerParts,
    config: ConsumerConfig,
    queue: WorkQueue,
    channel: lapin::Channel,
    consumer: lapin::Consumer,
}

/// Deliveries not yet given to the handler, and verdicts that need none.
struct Batch<B> {
    waiting: Vec<(Raw, Box<Delivery<B>>)>,
    decided: Vec<(Raw, Verdict)>,
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

impl<'a> Session<'a> {
    pub async fn open(
        parts: &'a ConsumerParts,
        config: ConsumerConfig,
        queue: WorkQueue,
    ) -> Result<Self, BrokerError> {
        let broker = &parts.broker;
        let channel = broker.consume_channel().await?;
        broker
            .bounded(
                "basic.qos",
                channel.basic_qos(config.prefetch, BasicQosOptions::default()),
            )
            .await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consume = channel.basic_consume(short(queue.name()), short(""), options, arguments);
        let consumer = broker.bounded("basic.consume", consume).await?;
        Ok(Self {
            parts,
            config,
            queue,
            channel,
            consumer,
        })
    }

    /// Ends with `Ok` when the gate closed or at shutdown, with `Err` when the broker went away.
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
                () = closes(gate) => break Ok(()),
                () = until(flush_at) => self.flush(&mut batch, handler, shutdown).await,
                next = self.consumer.next() => match next {
                    Some(Ok(delivery)) => self.take(delivery, &mut batch, handler, shutdown).await,
                    Some(Err(source)) => break Err(BrokerError::Amqp { call: "basic.deliver", source }),
                    None => break Err(BrokerError::Missing {
                        name: self.queue.name().to_owned(),
                        source: Box::new(BrokerError::TimedOut { call: "basic.deliver" }),
                    }),
                },
            }
        };
        self.leave(batch, shutdown).await;
        ended
    }

    async fn take<B, H, F>(
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
        let raw = Raw::new(delivery, self.queue);
        match raw.triage::<B>(&self.parts.opener) {
            Triaged::Handle(delivery) => batch.waiting.push((raw, delivery)),
            Triaged::Decided(verdict) => batch.decided.push((raw, verdict)),
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

    /// Handles and settles what has gathered.
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
        let verdicts = self
            .verdicts(deliveries.into_iter().map(|d| *d).collect(), handler)
            .await;
        let breathe = verdicts
            .iter()
            .any(|v| matches!(v, Verdict::Crashed | Verdict::Settle(Disposition::Return)));
        decided.extend(raws.into_iter().zip(verdicts));
        settle(decided, self.parts, shutdown).await;
        if breathe {
            pause(BREATH, shutdown).await;
        }
    }

    /// Runs the handler on a task of its own, so that its panic is ours to see.
    async fn verdicts<B, H, F>(&self, deliveries: Vec<Delivery<B>>, handler: &H) -> Vec<Verdict>
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
                dispositions.into_iter().map(Verdict::Settle).collect()
            }
            Ok(dispositions) => self.crashed(
                &ids,
                &format!("{} answers for {count} messages", dispositions.len()),
            ),
            Err(error) => self.crashed(&ids, &error),
        }
    }

    fn crashed(&self, ids: &[domain::ids::MessageId], why: &str) -> Vec<Verdict> {
        observe::handler_crashed(self.queue);
        tracing::error!(queue = %self.queue, message_ids = ?ids, why, "handler crashed; its batch comes again");
        ids.iter().map(|_| Verdict::Crashed).collect()
    }

    /// Cancels, then returns everything the handler has not begun.
    async fn leave<B: Body>(mut self, batch: Batch<B>, shutdown: &CancellationToken) {
        let broker = &self.parts.broker;
        if self.channel.status().connected() {
            let cancel = self
                .channel
                .basic_cancel(self.consumer.tag(), BasicCancelOptions::default());
            let cancelled = broker.bounded("basic.cancel", cancel).await.is_ok();
            let mut rest: Vec<(Raw, Verdict)> = batch.decided;
            let back = || Verdict::Settle(Disposition::Return);
            rest.extend(batch.waiting.into_iter().map(|(raw, _)| (raw, back())));
            while cancelled && let Some(Ok(delivery)) = self.consumer.next().await {
                rest.push((Raw::new(delivery, self.queue), back()));
            }
            settle(rest, self.parts, shutdown).await;
        }
        broker.close_channel(&self.channel).await;
    }
}

/// Resolves once the gate is closed; never when its owner is gone.
async fn closes(gate: &mut watch::Receiver<bool>) {
    if gate.wait_for(|open| !*open).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
