//! Accepting M-Pesa reports in groups: durable first, answered after.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use messaging::SealedMessage;
use runtime::relay::Wake;
use storage::gateway::reports::{self, NewReport};
use storage::outbox::OutboxRow;
use storage::{Outbox, Pool, StorageError};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::door::Door;
use crate::observe;

/// Members of a failed group that run singly at the same time.
const SINGLES: usize = 4;

/// What became of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// Stored now.
    New,
    /// The same content was stored before.
    Before,
    /// Not known to be stored.
    Unknown,
}

/// An authentic, well-formed report and the sealed message that follows from it.
#[derive(Debug)]
pub struct Arrival {
    pub report: NewReport,
    pub message: SealedMessage,
    /// After this nobody waits for the answer.
    pub deadline: Instant,
}

#[derive(Debug)]
struct Member {
    arrival: Arrival,
    reply: oneshot::Sender<Kept>,
}

impl Member {
    fn settle(self, kept: Kept) {
        // Whoever gave up waiting was answered 503 and will come again.
        let _ = self.reply.send(kept);
    }
}

/// The intake of reports; workers share it.
#[derive(Debug)]
pub struct ReportIntake {
    pool: Pool,
    wake: Wake,
    door: Door<Member>,
}

impl ReportIntake {
    pub fn new(pool: Pool, wake: Wake) -> Self {
        Self {
            pool,
            wake,
            door: Door::default(),
        }
    }

    /// Waits until the report is durable, or its deadline has passed.
    pub async fn submit(&self, arrival: Arrival) -> Kept {
        let deadline = arrival.deadline;
        let (reply, kept) = oneshot::channel();
        if self.door.enter(Member { arrival, reply }).is_err() {
            observe::door_full("/callbacks/mpesa");
            return Kept::Unknown;
        }
        match tokio::time::timeout_at(deadline, kept).await {
            Ok(Ok(kept)) => kept,
            Ok(Err(_)) | Err(_) => Kept::Unknown,
        }
    }

    /// One worker: groups until the door is closed and empty.
    pub async fn work(self: Arc<Self>, closed: CancellationToken) {
        while let Some(members) = self.door.gather(&closed).await {
            let started = Instant::now();
            let size = members.len();
            self.commit(members).await;
            observe::group("/callbacks/mpesa", size, started.elapsed());
        }
    }

    async fn commit(&self, mut members: Vec<Member>) {
        members.sort_unstable_by_key(|member| member.arrival.report.content_hash);
        let arrivals: Vec<&Arrival> = members.iter().map(|member| &member.arrival).collect();
        match self.attempt(&arrivals).await {
            Ok(kept) => {
                for (member, kept) in members.into_iter().zip(kept) {
                    member.settle(kept);
                }
            }
            // Only a transaction that is surely gone may run again under the same report ids.
            Err(StorageError::CommitUnknown { .. }) => {
                for member in members {
                    member.settle(Kept::Unknown);
                }
            }
            Err(error) => {
                observe::group_split("/callbacks/mpesa", &error);
                self.singly(members).await;
            }
        }
    }

    async fn singly(&self, members: Vec<Member>) {
        let mut waiting = members.into_iter();
        let mut running = FuturesUnordered::new();
        running.extend(waiting.by_ref().take(SINGLES).map(|member| self.single(member)));
        while running.next().await.is_some() {
            running.extend(waiting.next().map(|member| self.single(member)));
        }
    }

    /// Tries again while someone waits: a lock of another gateway is over in a moment.
    async fn single(&self, member: Member) {
        loop {
            match self.attempt(&[&member.arrival]).await {
                Ok(kept) => return member.settle(kept.first().copied().unwrap_or(Kept::Unknown)),
                Err(StorageError::Conflict(_)) if Instant::now() < member.arrival.deadline => {}
                Err(error) => {
                    observe::group_failed("/callbacks/mpesa", &error);
                    return member.settle(Kept::Unknown);
                }
            }
        }
    }

    async fn attempt(&self, arrivals: &[&Arrival]) -> Result<Vec<Kept>, StorageError> {
        let mut client = self.pool.get().await?;
        let tx = client.begin().await?;
        let rows: Vec<&NewReport> = arrivals.iter().map(|arrival| &arrival.report).collect();
        let stored: HashSet<_> = reports::insert_batch(&tx, &rows).await?.into_iter().collect();
        let is_new = |arrival: &&&Arrival| stored.contains(&arrival.report.signed.report_id);
        let messages: Vec<OutboxRow> = arrivals
            .iter()
            .filter(is_new)
            .map(|arrival| outbox_row(arrival))
            .collect();
        Outbox::Gateway.push_many(&tx, &messages).await?;
        tx.commit().await?;
        if !messages.is_empty() {
            self.wake.now();
        }
        let kept = |arrival: &&Arrival| if is_new(&arrival) { Kept::New } else { Kept::Before };
        Ok(arrivals.iter().map(kept).collect())
    }
}

fn outbox_row(arrival: &Arrival) -> OutboxRow {
    OutboxRow {
        message_id: arrival.message.message_id,
        queue: arrival.message.queue.name(),
        subject: arrival.report.parsed.tx_ref.as_str().to_owned(),
        envelope: arrival.message.bytes.clone(),
    }
}
