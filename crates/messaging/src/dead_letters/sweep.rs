//! One pass over a dead queue.

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

use super::{DeadLetter, DeadLetterError, DeadLetters, entry, replay_id};
use crate::connection::BrokerError;
use crate::publish::{Outgoing, Route};
use crate::seal::Stamp;
use crate::topology::{DEAD_EXCHANGE, WorkQueue, short};

/// Most entries in memory at once.
pub const PAGE: u16 = 250;
/// No further entry came for this long: the queue holds no more for us. The first one of a page may take longer: the
/// broker said that there is one.
const IDLE: Duration = Duration::from_secs(1);
const FIRST: Duration = Duration::from_secs(5);
/// Longest wait for returned entries to be visible again, and how often to look.
const RETURN_WAIT: Duration = Duration::from_secs(10);
const RETURN_STEP: Duration = Duration::from_millis(20);

/// What to do with one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Leave it where it is.
    Keep,
    /// Delete it for good.
    Discard,
    /// Send its content again as a new message that names this one as its cause.
    Replay,
    /// Seal it anew under the greatest key, in place.
    Reseal,
}

/// An entry in our hands: it is back on its queue once the sweep ends, unless it is settled.
pub struct Held {
    pub entry: DeadLetter,
    headers: Option<FieldTable>,
    acker: Acker,
}

/// What became of one entry.
#[derive(Debug)]
pub struct Settled {
    pub id: String,
    pub act: Act,
    /// The new message of a replay; an error leaves the entry in place.
    pub result: Result<Option<MessageId>, DeadLetterError>,
}

/// A pass that was begun. Dropped without [`Sweep::finish`], everything unsettled goes back with the connection.
pub struct Sweep<'a> {
    dead: &'a DeadLetters,
    queue: WorkQueue,
    /// The broker's queue that is gone through.
    name: String,
    channel: Channel,
    /// Entries that were there at the beginning, and how many of them were not shown yet.
    waiting: u64,
    left: u64,
    removed: u64,
}

impl<'a> Sweep<'a> {
    pub(super) async fn begin(
        dead: &'a DeadLetters,
        queue: WorkQueue,
        name: &str,
    ) -> Result<Self, DeadLetterError> {
        let channel = dead.broker.consume_channel().await?;
        let waiting = u64::from(ready(dead, &channel, name).await?);
        Ok(Self {
            dead,
            queue,
            name: name.to_owned(),
            channel,
            waiting,
            left: waiting,
            removed: 0,
        })
    }

    /// Entries that were there when the sweep began.
    pub fn waiting(&self) -> u64 {
        self.waiting
    }

    /// The next entries, at most `most`; none at the end.
    pub async fn page(&mut self, most: u16) -> Result<Vec<Held>, DeadLetterError> {
        let page = most.min(PAGE).min(u16::try_from(self.left).unwrap_or(PAGE));
        let mut held = Vec::with_capacity(page.into());
        if page == 0 {
            return Ok(held);
        }
        // A page is a consumer that is cancelled once its prefetch is used up: what it was given stays ours
        // until the channel closes, without being kept in memory here.
        let mut consumer = self.consumer(page).await?;
        while held.len() < page.into() {
            let wait = if held.is_empty() { FIRST } else { IDLE };
            let Ok(Some(next)) = tokio::time::timeout(wait, consumer.next()).await else {
                break;
            };
            let delivery = next.map_err(|source| BrokerError::Amqp {
                call: "basic.deliver",
                source,
            })?;
            held.push(Held::of(self.queue, delivery));
        }
        self.cancel(&consumer).await?;
        let got = u64::try_from(held.len()).unwrap_or(u64::MAX);
        self.left = if got == 0 {
            0
        } else {
            self.left.saturating_sub(got)
        };
        Ok(held)
    }

    /// Does what was decided, one result for each in order. A copy is confirmed before its entry is taken away.
    pub async fn settle(&mut self, decided: Vec<(Held, Act)>) -> Result<Vec<Settled>, DeadLetterError> {
        let (mut outgoing, mut planned) = (Vec::new(), Vec::with_capacity(decided.len()));
        for (held, act) in decided {
            let copy = match act {
                Act::Keep | Act::Discard => Ok(None),
                Act::Replay => self.replay(&held.entry).map(Some),
                Act::Reseal => self.reseal(&held).map(Some),
            };
            let place = copy.map(|copy| {
                copy.map(|copy| {
                    outgoing.push(copy);
                    outgoing.len() - 1
                })
            });
            planned.push((held, act, place));
        }
        let new_ids: Vec<Option<MessageId>> = outgoing.iter().map(|copy| copy.message_id).collect();
        let published = self.dead.publisher.publish_many(outgoing).await;
        let mut settled = Vec::with_capacity(planned.len());
        let mut done = Vec::new();
        for (held, act, place) in planned {
            let result = match place {
                Ok(Some(at)) => match published.get(at) {
                    Some(Ok(())) => Ok(new_ids[at].filter(|_| act == Act::Replay)),
                    Some(Err(error)) => Err(error.clone().into()),
                    None => Ok(None),
                },
                Ok(None) => Ok(None),
                Err(error) => Err(error),
            };
            if result.is_ok() && act != Act::Keep {
                done.push(held.acker);
            }
            settled.push(Settled {
                id: held.entry.id,
                act,
                result,
            });
        }
        // Together: waiting for each to be written by itself takes most of a sweep's time.
        let acks = done.iter().map(|acker| acker.ack(BasicAckOptions::default()));
        self.dead.broker.bounded("basic.ack", try_join_all(acks)).await?;
        self.removed += u64::try_from(done.len()).unwrap_or(u64::MAX);
        Ok(settled)
    }

    /// Gives back what is still held, and waits (not for ever) until it can be seen again, so that the next
    /// command of the same person finds it.
    pub async fn finish(self) -> Result<(), DeadLetterError> {
        // Whatever comes of it, the channel is closed: until then nobody else sees what it holds.
        let applied = if self.removed > 0 {
            self.until_applied().await
        } else {
            Ok(())
        };
        let all = BasicNackOptions {
            multiple: true,
            requeue: true,
        };
        // Closing the channel would do it too, only later.
        let returned = self
            .dead
            .broker
            .bounded("basic.nack", self.channel.basic_nack(0, all))
            .await;
        self.dead.broker.close_channel(&self.channel).await;
        applied.and(returned)?;
        let expected = self.waiting.saturating_sub(self.removed);
        let end = Instant::now() + RETURN_WAIT;
        while Instant::now() < end {
            let Ok(channel) = self.dead.broker.consume_channel().await else {
                break;
            };
            let seen = ready(self.dead, &channel, &self.name).await;
            self.dead.broker.close_channel(&channel).await;
            match seen {
                Ok(seen) if u64::from(seen) < expected => tokio::time::sleep(RETURN_STEP).await,
                _ => break,
            }
        }
        Ok(())
    }

    /// Waits until the queue has applied what was settled. A channel of the broker keeps back settlements of a quorum
    /// queue once some thirty are under way and forgets them when it closes; a consumer's beginning and end are calls
    /// that the queue answers after all that was sent before them, and by then the channel has sent the rest.
    async fn until_applied(&self) -> Result<(), BrokerError> {
        let barrier = self.consumer(1).await?;
        self.cancel(&barrier).await
    }

    async fn cancel(&self, consumer: &lapin::Consumer) -> Result<(), BrokerError> {
        let cancel = self
            .channel
            .basic_cancel(consumer.tag(), BasicCancelOptions::default());
        self.dead.broker.bounded("basic.cancel", cancel).await
    }

    async fn consumer(&self, page: u16) -> Result<lapin::Consumer, BrokerError> {
        let broker = &self.dead.broker;
        let qos = self.channel.basic_qos(page, BasicQosOptions::default());
        broker.bounded("basic.qos", qos).await?;
        let (options, arguments) = (BasicConsumeOptions::default(), FieldTable::default());
        let consume = self
            .channel
            .basic_consume(short(&self.name), short(""), options, arguments);
        broker.bounded("basic.consume", consume).await
    }

    /// Verifies the seal, then makes the new message.
    fn replay(&self, entry: &DeadLetter) -> Result<Outgoing, DeadLetterError> {
        let opened = self.dead.opener.open(self.queue, &entry.payload)?;
        let stamp = Stamp {
            message_id: replay_id(self.queue, opened.message_id()),
            causation_id: None,
            at: self.dead.clock.now(),
            traceparent: opened.hints().traceparent.clone(),
        };
        Ok(self.dead.sealer.replay(&opened, stamp)?.into())
    }

    /// Verifies the seal, then makes the same entry under the greatest key.
    fn reseal(&self, held: &Held) -> Result<Outgoing, DeadLetterError> {
        let opened = self.dead.opener.open(self.queue, &held.entry.payload)?;
        let message = self.dead.sealer.reseal(&opened)?;
        Ok(Outgoing {
            exchange: Route::Named(DEAD_EXCHANGE.to_owned()),
            routing_key: self.queue.name().to_owned(),
            message_id: Some(message.message_id),
            expiration: None,
            headers: entry::carried(held.headers.as_ref()),
            payload: message.bytes,
        })
    }
}

impl Held {
    fn of(queue: WorkQueue, delivery: Delivery) -> Self {
        Self {
            headers: delivery.properties.headers().clone(),
            acker: delivery.acker.clone(),
            entry: DeadLetter::read(queue, delivery),
        }
    }
}

async fn ready(dead: &DeadLetters, channel: &Channel, name: &str) -> Result<u32, BrokerError> {
    let passive = QueueDeclareOptions {
        passive: true,
        durable: true,
        ..Default::default()
    };
    let declared = channel.queue_declare(short(name), passive, FieldTable::default());
    Ok(dead
        .broker
        .bounded("queue.declare", declared)
        .await?
        .message_count())
}
