//! A cursor over a dead-letter queue.

use std::time::Duration;

use domain::ids::MessageId;
use futures_util::StreamExt;
use futures_util::future::try_join_all;
use lapin::message::Delivery;
use lapin::options::{
    BasicAckOptions, BasicCancelOptions, BasicConsumeOptions, BasicNackOptions, BasicQosOptions,
    QueueDeclareOptions,
};
use lapin::types::FieldTable;
use lapin::{Acker, Channel};
use tokio::time::Instant;

use super::{DeadLetter, DeadLetterError, DeadLetters, replay_id};
use crate::amqp::short_string;
use crate::connection::BrokerError;
use crate::failure_report::own_headers;
use crate::names::WorkQueue;
use crate::publish::Outgoing;
use crate::seal::MessageMetadata;

/// Maximum number of entries in memory at once.
pub const MAX_PAGE: u16 = 250;
/// If no further entry arrives within this time, the queue has no more. The first entry of a page gets more time, since
/// the broker said that there is one.
const NEXT_ENTRY_TIMEOUT: Duration = Duration::from_secs(1);
const FIRST_ENTRY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long to wait until returned entries are visible again, and how often to check.
const RETURN_TIMEOUT: Duration = Duration::from_secs(10);
const RETURN_POLL: Duration = Duration::from_millis(20);

/// What to do with an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeadLetterAction {
    /// Leave it in the queue.
    Keep,
    /// Delete it permanently.
    Discard,
    /// Send its content again, as a new message that names this one as its cause.
    Replay,
    /// Replace its seal with one under the greatest key id, in place.
    Reseal,
}

/// An entry that the cursor holds. It returns to its queue when the cursor ends, unless it is settled.
pub struct HeldDeadLetter {
    pub entry: DeadLetter,
    headers: Option<FieldTable>,
    acker: Acker,
}

/// What happened to one entry.
#[derive(Debug)]
pub struct SettledDeadLetter {
    pub id: String,
    pub action: DeadLetterAction,
    /// The id of a replay's new message. After an error the entry is still in the queue.
    pub result: Result<Option<MessageId>, DeadLetterError>,
}

/// An open cursor. If it is dropped without [`DeadLetterCursor::finish`], unsettled entries return to the queue when the
/// connection closes.
pub struct DeadLetterCursor<'a> {
    dead: &'a DeadLetters,
    queue: WorkQueue,
    /// The broker's queue that is read.
    name: String,
    channel: Channel,
    /// Number of entries when the cursor was opened, and how many of them are not read yet.
    initial_count: u64,
    remaining: u64,
    removed: u64,
}

impl<'a> DeadLetterCursor<'a> {
    pub(super) async fn open(
        dead: &'a DeadLetters,
        queue: WorkQueue,
        name: &str,
    ) -> Result<Self, DeadLetterError> {
        let channel = dead.broker.consume_channel().await?;
        let waiting = u64::from(ready_count(dead, &channel, name).await?);
        Ok(Self {
            dead,
            queue,
            name: name.to_owned(),
            channel,
            initial_count: waiting,
            remaining: waiting,
            removed: 0,
        })
    }

    /// Number of entries when the cursor was opened.
    pub fn initial_count(&self) -> u64 {
        self.initial_count
    }

    /// Reads the next entries, at most `most`; an empty page is the end.
    pub async fn next_page(&mut self, most: u16) -> Result<Vec<HeldDeadLetter>, DeadLetterError> {
        let page = most
            .min(MAX_PAGE)
            .min(u16::try_from(self.remaining).unwrap_or(MAX_PAGE));
        let mut held = Vec::with_capacity(page.into());
        if page == 0 {
            return Ok(held);
        }
        // Each page uses a consumer that is cancelled once its prefetch is used up. Its deliveries stay reserved until
        // the channel closes, without being kept in memory here.
        let mut consumer = self.consumer(page).await?;
        while held.len() < page.into() {
            let wait = if held.is_empty() {
                FIRST_ENTRY_TIMEOUT
            } else {
                NEXT_ENTRY_TIMEOUT
            };
            let Ok(Some(next)) = tokio::time::timeout(wait, consumer.next()).await else {
                break;
            };
            let delivery = next.map_err(|source| BrokerError::Amqp {
                call: "basic.deliver",
                source,
            })?;
            held.push(HeldDeadLetter::of(self.queue, delivery));
        }
        self.cancel(&consumer).await?;
        let got = u64::try_from(held.len()).unwrap_or(u64::MAX);
        self.remaining = if got == 0 {
            0
        } else {
            self.remaining.saturating_sub(got)
        };
        Ok(held)
    }

    /// Carries out the decisions; returns one result per entry, in order. A copy is confirmed before its entry is removed.
    pub async fn settle(
        &mut self,
        decided: Vec<(HeldDeadLetter, DeadLetterAction)>,
    ) -> Result<Vec<SettledDeadLetter>, DeadLetterError> {
        let (mut outgoing, mut planned) = (Vec::new(), Vec::with_capacity(decided.len()));
        for (held, action) in decided {
            let copy = match action {
                DeadLetterAction::Keep | DeadLetterAction::Discard => Ok(None),
                DeadLetterAction::Replay => self.replay(&held.entry).map(Some),
                DeadLetterAction::Reseal => self.reseal(&held).map(Some),
            };
            let position = copy.map(|copy| {
                copy.map(|copy| {
                    outgoing.push(copy);
                    outgoing.len() - 1
                })
            });
            planned.push((held, action, position));
        }
        let new_ids: Vec<Option<MessageId>> = outgoing.iter().map(|copy| copy.message_id).collect();
        let published = self.dead.publisher.publish_many(outgoing).await;
        let mut settled = Vec::with_capacity(planned.len());
        let mut done = Vec::new();
        for (held, action, position) in planned {
            let result = position.and_then(|position| match position.map(|at| (at, published.get(at))) {
                Some((at, Some(Ok(())))) => Ok(new_ids[at].filter(|_| action == DeadLetterAction::Replay)),
                Some((_, Some(Err(error)))) => Err(error.clone().into()),
                Some((_, None)) | None => Ok(None),
            });
            if result.is_ok() && action != DeadLetterAction::Keep {
                done.push(held.acker);
            }
            settled.push(SettledDeadLetter {
                id: held.entry.id,
                action,
                result,
            });
        }
        // All at once, because waiting for each acknowledgement separately would take most of the time.
        let acks = done.iter().map(|acker| acker.ack(BasicAckOptions::default()));
        self.dead
            .broker
            .with_timeout("basic.ack", try_join_all(acks))
            .await?;
        self.removed += u64::try_from(done.len()).unwrap_or(u64::MAX);
        Ok(settled)
    }

    /// Returns the entries that are still held, and waits for a limited time until they are visible again, so that the
    /// operator's next command finds them.
    pub async fn finish(self) -> Result<(), DeadLetterError> {
        // The channel is closed in any case: until then nobody else sees the entries that it holds.
        let applied = if self.removed > 0 {
            self.wait_until_applied().await
        } else {
            Ok(())
        };
        let all = BasicNackOptions {
            multiple: true,
            requeue: true,
        };
        // Closing the channel would return them too, but later.
        let returned = self
            .dead
            .broker
            .with_timeout("basic.nack", self.channel.basic_nack(0, all))
            .await;
        self.dead.broker.close_channel(&self.channel).await;
        applied.and(returned)?;
        self.wait_until_returned().await;
        Ok(())
    }

    /// Waits until the queue counts what went back, or for the time that is left to it.
    #[expect(
        clippy::disallowed_methods,
        reason = "a broker announces no counts; the wait is bounded"
    )]
    async fn wait_until_returned(&self) {
        let expected = self.initial_count.saturating_sub(self.removed);
        let end = Instant::now() + RETURN_TIMEOUT;
        while Instant::now() < end {
            let Ok(channel) = self.dead.broker.consume_channel().await else {
                break;
            };
            let seen = ready_count(self.dead, &channel, &self.name).await;
            self.dead.broker.close_channel(&channel).await;
            match seen {
                Ok(seen) if u64::from(seen) < expected => tokio::time::sleep(RETURN_POLL).await,
                _ => break,
            }
        }
    }

    /// Waits until the queue has applied all acknowledgements. The broker's channel holds back acknowledgements of a
    /// quorum queue once about thirty are in flight, and forgets them when it closes. Starting and cancelling a consumer
    /// are calls that the queue answers only after everything sent before, and by then the channel has sent the rest.
    async fn wait_until_applied(&self) -> Result<(), BrokerError> {
        let barrier = self.consumer(1).await?;
        self.cancel(&barrier).await
    }

    async fn cancel(&self, consumer: &lapin::Consumer) -> Result<(), BrokerError> {
        let cancel = self
            .channel
            .basic_cancel(consumer.tag(), BasicCancelOptions::default());
        self.dead.broker.with_timeout("basic.cancel", cancel).await
    }

    async fn consumer(&self, page: u16) -> Result<lapin::Consumer, BrokerError> {
        let broker = &self.dead.broker;
        let qos = self.channel.basic_qos(page, BasicQosOptions::default());
        broker.with_timeout("basic.qos", qos).await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consume =
            self.channel
                .basic_consume(short_string(&self.name), short_string(""), options, arguments);
        broker.with_timeout("basic.consume", consume).await
    }

    /// Verifies the seal, then builds the new message.
    fn replay(&self, entry: &DeadLetter) -> Result<Outgoing, DeadLetterError> {
        let opened = self.dead.opener.open(self.queue, &entry.payload)?;
        let metadata = MessageMetadata {
            message_id: replay_id(self.queue, opened.message_id()),
            causation_id: None,
            at: self.dead.clock.now(),
            traceparent: opened.hints().traceparent.clone(),
        };
        Ok(self.dead.sealer.replay(&opened, metadata)?.into())
    }

    /// Verifies the seal, then builds the same entry sealed under the greatest key id.
    fn reseal(&self, held: &HeldDeadLetter) -> Result<Outgoing, DeadLetterError> {
        let opened = self.dead.opener.open(self.queue, &held.entry.payload)?;
        let message = self.dead.sealer.reseal(&opened)?;
        let (id, headers) = (message.message_id, own_headers(held.headers.as_ref()));
        Ok(Outgoing::dead_letter(
            self.queue,
            Some(id),
            headers,
            message.bytes,
        ))
    }
}

impl HeldDeadLetter {
    fn of(queue: WorkQueue, delivery: Delivery) -> Self {
        Self {
            headers: delivery.properties.headers().clone(),
            acker: delivery.acker.clone(),
            entry: DeadLetter::read(queue, delivery),
        }
    }
}

async fn ready_count(dead: &DeadLetters, channel: &Channel, name: &str) -> Result<u32, BrokerError> {
    let passive = QueueDeclareOptions {
        passive: true,
        durable: true,
        ..Default::default()
    };
    let declared = channel.queue_declare(short_string(name), passive, FieldTable::default());
    Ok(dead
        .broker
        .with_timeout("queue.declare", declared)
        .await?
        .message_count())
}
