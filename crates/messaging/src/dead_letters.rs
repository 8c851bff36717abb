//! Dead queues: look without losing, take, discard, replay, re-seal.
//!
//! All of these are one sweep: entries are handed out page by page, a decision is made on each, and those to
//! keep go back at the end. Memory holds one page, however many entries there are. While
//! a sweep runs another one does not see the entries it holds.

pub(crate) mod entry;

use std::sync::Arc;
use std::time::Duration;

use domain::clock::{Clock, IdSource};
use domain::ids::MessageId;
use futures_util::StreamExt;
use lapin::Channel;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use tokio::time::Instant;

pub use entry::{DeadLetter, Story};

use crate::connection::{Broker, BrokerError};
use crate::publish::{Outgoing, PublishError, Publisher, Route};
use crate::seal::{OpenError, Opener, SealError, Sealer, Stamp};
use crate::topology::{DEAD_EXCHANGE, WorkQueue, short};

/// Entries in memory at once.
const PAGE: u16 = 500;
/// No further entry came for this long: the queue holds no more for us.
const IDLE: Duration = Duration::from_millis(500);
/// Longest wait for returned entries to be visible again, and how often to look.
const RETURN_WAIT: Duration = Duration::from_secs(2);
const RETURN_STEP: Duration = Duration::from_millis(20);

/// What to do with one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Leave it where it is.
    Keep,
    /// Leave it, and end the sweep here.
    Stop,
    /// Delete it for good.
    Discard,
    /// Send its content again as a new message that names this one as its cause.
    Replay,
    /// Seal it anew under the greatest key, in place.
    Reseal,
}

/// What a sweep did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SweepReport {
    pub seen: u64,
    pub discarded: u64,
    /// Old and new message id.
    pub replayed: Vec<(MessageId, MessageId)>,
    pub resealed: u64,
    /// Entries left in place because the act on them failed: entry id and reason.
    pub failed: Vec<(String, String)>,
}

impl SweepReport {
    fn removed(&self) -> u64 {
        let replayed = u64::try_from(self.replayed.len()).unwrap_or(u64::MAX);
        self.discarded
            .saturating_add(self.resealed)
            .saturating_add(replayed)
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    #[error(transparent)]
    Broker(#[from] BrokerError),
    #[error("cannot be replayed: {0}")]
    Open(#[from] OpenError),
    #[error("cannot be sealed: {0}")]
    Seal(#[from] SealError),
    #[error("cannot be published: {0}")]
    Publish(#[from] PublishError),
}

/// The operator's hand on the dead queues.
#[derive(Clone)]
pub struct DeadLetters {
    pub broker: Broker,
    pub publisher: Publisher,
    pub opener: Opener,
    pub sealer: Sealer,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
}

impl DeadLetters {
    /// Shows at most `limit` entries to `decide`, oldest first as far as the broker keeps order, and does what
    /// it answers. Entries added meanwhile are left alone.
    pub async fn sweep<D>(
        &self,
        queue: WorkQueue,
        limit: u64,
        mut decide: D,
    ) -> Result<SweepReport, DeadLetterError>
    where
        D: FnMut(&DeadLetter) -> Act + Send,
    {
        let channel = self.broker.consume_channel().await?;
        let mut report = SweepReport::default();
        let waiting = self.ready(&channel, queue).await?;
        let swept = self
            .pages(
                &channel,
                queue,
                limit.min(u64::from(waiting)),
                &mut decide,
                &mut report,
            )
            .await;
        // Everything still held goes back; closing the channel would do it too, only later.
        let all = BasicNackOptions {
            multiple: true,
            requeue: true,
        };
        let returned = self
            .broker
            .bounded("basic.nack", channel.basic_nack(0, all))
            .await;
        self.broker.close_channel(&channel).await;
        swept?;
        returned?;
        self.until_back(queue, u64::from(waiting).saturating_sub(report.removed()))
            .await;
        Ok(report)
    }

    /// Waits (not for ever) until the entries that went back can be seen again, so that the next command of the
    /// same person finds them.
    async fn until_back(&self, queue: WorkQueue, expected: u64) {
        let end = Instant::now() + RETURN_WAIT;
        while Instant::now() < end {
            let Ok(channel) = self.broker.consume_channel().await else {
                return;
            };
            let ready = self.ready(&channel, queue).await;
            self.broker.close_channel(&channel).await;
            match ready {
                Ok(ready) if u64::from(ready) < expected => tokio::time::sleep(RETURN_STEP).await,
                _ => return,
            }
        }
    }

    /// At most `limit` entries, none removed.
    pub async fn browse(&self, queue: WorkQueue, limit: u32) -> Result<Vec<DeadLetter>, DeadLetterError> {
        let mut found = Vec::new();
        let keep = |entry: &DeadLetter| {
            found.push(entry.clone());
            Act::Keep
        };
        self.sweep(queue, u64::from(limit), keep).await?;
        Ok(found)
    }

    /// One entry by its id, not removed.
    pub async fn find(&self, queue: WorkQueue, id: &str) -> Result<Option<DeadLetter>, DeadLetterError> {
        let mut found = None;
        let look = |entry: &DeadLetter| {
            if entry.id != id {
                return Act::Keep;
            }
            found = Some(entry.clone());
            Act::Stop
        };
        self.sweep(queue, u64::MAX, look).await?;
        Ok(found)
    }

    /// Does `act` to the first entry with this id; false when there is none.
    pub async fn act_on(&self, queue: WorkQueue, id: &str, act: Act) -> Result<SweepReport, DeadLetterError> {
        let mut done = false;
        let once = |entry: &DeadLetter| match (done, entry.id == id) {
            (true, _) => Act::Stop,
            (false, true) => {
                done = true;
                act
            }
            (false, false) => Act::Keep,
        };
        self.sweep(queue, u64::MAX, once).await
    }

    async fn pages<D>(
        &self,
        channel: &Channel,
        queue: WorkQueue,
        limit: u64,
        decide: &mut D,
        report: &mut SweepReport,
    ) -> Result<(), DeadLetterError>
    where
        D: FnMut(&DeadLetter) -> Act + Send,
    {
        let mut left = limit;
        while left > 0 {
            // A page is a consumer that is cancelled once its prefetch is used up: what it was given stays
            // ours until the channel closes, without being kept in memory here.
            let page = PAGE.min(u16::try_from(left).unwrap_or(PAGE));
            let mut consumer = self.consumer(channel, queue, page).await?;
            let mut got = 0;
            while got < page {
                let Ok(Some(next)) = tokio::time::timeout(IDLE, consumer.next()).await else {
                    break;
                };
                let delivery = next.map_err(|source| BrokerError::Amqp {
                    call: "basic.deliver",
                    source,
                })?;
                got += 1;
                report.seen += 1;
                if self.visit(queue, delivery, decide, report).await? {
                    return Ok(());
                }
            }
            let cancel = channel.basic_cancel(consumer.tag(), BasicCancelOptions::default());
            self.broker.bounded("basic.cancel", cancel).await?;
            if got == 0 {
                return Ok(());
            }
            left = left.saturating_sub(u64::from(got));
        }
        Ok(())
    }

    async fn ready(&self, channel: &Channel, queue: WorkQueue) -> Result<u32, BrokerError> {
        let passive = QueueDeclareOptions {
            passive: true,
            durable: true,
            ..Default::default()
        };
        let declared = channel.queue_declare(short(queue.dead_name()), passive, FieldTable::default());
        Ok(self
            .broker
            .bounded("queue.declare", declared)
            .await?
            .message_count())
    }

    async fn consumer(
        &self,
        channel: &Channel,
        queue: WorkQueue,
        page: u16,
    ) -> Result<lapin::Consumer, BrokerError> {
        self.broker
            .bounded("basic.qos", channel.basic_qos(page, BasicQosOptions::default()))
            .await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consume = channel.basic_consume(short(queue.dead_name()), short(""), options, arguments);
        self.broker.bounded("basic.consume", consume).await
    }

    /// True when the sweep is to end.
    async fn visit<D>(
        &self,
        queue: WorkQueue,
        delivery: Delivery,
        decide: &mut D,
        report: &mut SweepReport,
    ) -> Result<bool, DeadLetterError>
    where
        D: FnMut(&DeadLetter) -> Act + Send,
    {
        let acker = delivery.acker.clone();
        let headers = delivery.properties.headers().clone();
        let entry = DeadLetter::read(queue, delivery);
        let act = decide(&entry);
        let done = match act {
            Act::Keep => return Ok(false),
            Act::Stop => return Ok(true),
            Act::Discard => Ok(None),
            Act::Replay => self.replay(&entry).await.map(Some),
            Act::Reseal => self.reseal(&entry, headers).await.map(|()| None),
        };
        match done {
            Ok(new_id) => {
                let acked = acker.ack(BasicAckOptions::default());
                self.broker.bounded("basic.ack", acked).await?;
                tracing::info!(queue = %queue, entry = entry.id, ?act, new_message_id = ?new_id, "dead letter settled");
                match act {
                    Act::Discard => report.discarded += 1,
                    Act::Reseal => report.resealed += 1,
                    _ => report.replayed.extend(entry.message_id.zip(new_id)),
                }
            }
            Err(error) => report.failed.push((entry.id, error.to_string())),
        }
        Ok(false)
    }

    /// Verifies the seal, then publishes the content under a new id.
    async fn replay(&self, entry: &DeadLetter) -> Result<MessageId, DeadLetterError> {
        let opened = self.opener.open(entry.origin, &entry.payload)?;
        let new_id = self.ids.message_id();
        let stamp = Stamp {
            message_id: new_id,
            causation_id: None,
            at: self.clock.now(),
            traceparent: opened.hints().traceparent.clone(),
        };
        let message = self.sealer.replay(&opened, stamp)?;
        self.publisher.publish(message.into()).await?;
        Ok(new_id)
    }

    /// Verifies the seal, then puts the same entry back under the greatest key.
    async fn reseal(&self, entry: &DeadLetter, headers: Option<FieldTable>) -> Result<(), DeadLetterError> {
        let opened = self.opener.open(entry.origin, &entry.payload)?;
        let message = self.sealer.reseal(&opened)?;
        let copy = Outgoing {
            exchange: Route::Named(DEAD_EXCHANGE.to_owned()),
            routing_key: entry.origin.name().to_owned(),
            message_id: Some(message.message_id),
            expiration: None,
            headers: entry::carried(headers.as_ref()),
            payload: message.bytes,
        };
        self.publisher.publish(copy).await?;
        Ok(())
    }
}
