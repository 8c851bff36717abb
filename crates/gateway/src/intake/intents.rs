//! Accepting intents in groups (docs/IDEMPOTENCY.md).

use std::sync::Arc;
use std::time::Duration;

use domain::key_ring::KeyRing;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use messaging::SealedMessage;
use runtime::relay::Wake;
use storage::gateway::idempotency::StoredAnswer;
use storage::gateway::intents::MintIntent;
use storage::{ConflictKind, Pool, StorageError};
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::door::Door;
use super::group::{Group, Rules};
use super::in_flight::{Entrance, Flight, InFlight, Landed};
use super::unpaid::{Places, Unpaid};
use crate::error::{Code, Problem};
use crate::keys::Keys;
use crate::observe;

/// How long a request waits for the one that holds its key (docs/IDEMPOTENCY.md).
const PATIENCE: Duration = Duration::from_secs(1);
/// Members of a failed group that run singly at the same time.
const SINGLES: usize = 4;

/// What a request gets.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Answered now; the answer is stored.
    Stored(Arc<StoredAnswer>),
    /// Answered before; the same answer again.
    Replayed(Arc<StoredAnswer>),
    /// Nothing is stored.
    Refused(Problem),
}

/// A request that passed every check that needs no database.
#[derive(Debug)]
pub struct Submission {
    pub request_id: String,
    /// What will be stored if nothing speaks against it: the success, or the policy's refusal.
    pub answer: StoredAnswer,
    /// Absent for a refusal.
    pub candidate: Option<Candidate>,
}

/// An intent and the sealed command that follows from it.
#[derive(Debug)]
pub struct Candidate {
    pub intent: MintIntent,
    pub message: SealedMessage,
}

/// A submission in a group.
#[derive(Debug)]
pub struct Member {
    pub submission: Submission,
    flight: Flight,
    reply: oneshot::Sender<Outcome>,
}

impl Member {
    fn settle(self, outcome: Outcome) {
        self.flight.land(self.submission.answer.fingerprint, &outcome);
        // A client that gave up is not there any more.
        let _ = self.reply.send(outcome);
    }
}

/// The intake of intents; workers share it.
#[derive(Debug)]
pub struct IntentIntake {
    pool: Pool,
    rules: Rules,
    keys: Arc<Keys>,
    unpaid: Unpaid,
    /// True while intents may be accepted.
    open: watch::Receiver<bool>,
    wake: Wake,
    door: Door<Member>,
    in_flight: Arc<InFlight>,
}

impl IntentIntake {
    pub fn new(
        pool: Pool,
        rules: Rules,
        max_unpaid: u64,
        open: watch::Receiver<bool>,
        keys: Arc<Keys>,
        wake: Wake,
    ) -> Self {
        Self {
            unpaid: Unpaid::new(max_unpaid, rules.payment_seconds),
            pool,
            rules,
            open,
            keys,
            wake,
            door: Door::default(),
            in_flight: Arc::default(),
        }
    }

    /// Waits until the submission is committed, refused, or found to be answered already.
    pub async fn submit(&self, submission: Submission) -> Outcome {
        let deadline = Instant::now() + PATIENCE;
        let fingerprint = submission.answer.fingerprint;
        let slot = (
            submission.answer.integrator.clone(),
            submission.answer.key.clone(),
        );
        loop {
            let waiting = match self.in_flight.enter(slot.clone()) {
                Entrance::Mine(flight) => return self.pass(submission, flight).await,
                Entrance::Wait(waiting) => waiting,
            };
            let Ok(landed) = tokio::time::timeout_at(deadline, waiting).await else {
                return Outcome::Refused(in_progress());
            };
            match landed {
                Ok(landed) if landed.fingerprint == fingerprint => return again(landed),
                Ok(Landed {
                    outcome: Outcome::Stored(_) | Outcome::Replayed(_),
                    ..
                }) => {
                    return Outcome::Refused(reused());
                }
                // The holder left the key free: try to hold it.
                Ok(_) | Err(_) => {}
            }
        }
    }

    async fn pass(&self, submission: Submission, flight: Flight) -> Outcome {
        let (reply, answered) = oneshot::channel();
        if self
            .door
            .enter(Member {
                submission,
                flight,
                reply,
            })
            .is_err()
        {
            observe::door_full("/mint-intents");
            return Outcome::Refused(Problem::unavailable());
        }
        answered
            .await
            .unwrap_or_else(|_| Outcome::Refused(Problem::unavailable()))
    }

    /// Counts unpaid intents beside the groups, until the stop.
    pub async fn count(self: Arc<Self>, pool: Pool, stop: runtime::Stop) {
        self.unpaid.watch(pool, stop).await;
    }

    /// One worker: groups until the door is closed and empty.
    pub async fn work(self: Arc<Self>, closed: CancellationToken) {
        while let Some(members) = self.door.gather(&closed).await {
            let started = Instant::now();
            let size = members.len();
            self.commit(members).await;
            observe::group("/mint-intents", size, started.elapsed());
        }
    }

    async fn commit(&self, mut members: Vec<Member>) {
        members.sort_unstable_by(|a, b| slot_of(&a.submission).cmp(&slot_of(&b.submission)));
        let (members, twins) = split_twins(members);
        let submissions: Vec<&Submission> = members.iter().map(|member| &member.submission).collect();
        match self.attempt(&submissions).await {
            Ok(outcomes) => settle_all(members, outcomes),
            Err(error) if nothing_happened_to_some(&error) && members.len() > 1 => {
                observe::group_split("/mint-intents", &error);
                self.singly(members).await;
            }
            Err(error) => {
                observe::group_failed("/mint-intents", &error);
                let problem = Problem::from(&error);
                let outcomes = members
                    .iter()
                    .map(|_| Outcome::Refused(problem.clone()))
                    .collect();
                settle_all(members, outcomes);
            }
        }
        if !twins.is_empty() {
            self.singly(twins).await;
        }
    }

    /// Each member in a transaction of its own, a few at a time, in the given order.
    async fn singly(&self, members: Vec<Member>) {
        let mut waiting = members.into_iter();
        let mut running = FuturesUnordered::new();
        running.extend(waiting.by_ref().take(SINGLES).map(|member| self.single(member)));
        while running.next().await.is_some() {
            running.extend(waiting.next().map(|member| self.single(member)));
        }
    }

    /// Alone, a member only waits for strangers' locks (its user's day, say): that is tried again for a while.
    async fn single(&self, member: Member) {
        let deadline = Instant::now() + PATIENCE;
        let outcome = loop {
            match self.attempt(&[&member.submission]).await {
                Ok(mut outcomes) => {
                    break outcomes
                        .pop()
                        .unwrap_or_else(|| Outcome::Refused(Problem::internal()));
                }
                Err(StorageError::Conflict(_)) if Instant::now() < deadline => {}
                Err(error) => {
                    observe::group_failed("/mint-intents", &error);
                    break Outcome::Refused(Problem::from(&error));
                }
            }
        };
        member.settle(outcome);
    }

    /// One transaction for all of them; outcomes in their order.
    async fn attempt(&self, submissions: &[&Submission]) -> Result<Vec<Outcome>, StorageError> {
        let snapshot = self.keys.snapshot();
        let answers: &KeyRing = &snapshot.answers;
        let mut client = self.pool.get().await?;
        let tx = client.begin().await?;
        let mut group = Group::claim(&tx, submissions, &self.rules).await?;
        group.answer_known(&tx, answers).await?;
        if !*self.open.borrow() {
            group.halt();
        }
        let mut places = Places::of(&self.unpaid);
        group.limit_unpaid(&mut places);
        group.charge(&tx, &self.rules, answers).await?;
        group.insert(&tx, answers).await?;
        group.finish(&tx).await?;
        tx.commit().await?;
        let accepted = group.accepted();
        if !accepted.is_empty() {
            self.wake.now();
        }
        for (integrator, count) in accepted {
            places.keep(integrator, count);
        }
        let outcomes = group.into_outcomes();
        for outcome in &outcomes {
            if let Outcome::Stored(answer) | Outcome::Replayed(answer) = outcome {
                self.keys.answered(&answer.mac_key_id);
            }
        }
        Ok(outcomes)
    }
}

/// Owner and key: the order in which rows are locked.
pub(super) fn slot_of(submission: &Submission) -> (&str, &str) {
    (
        submission.answer.integrator.as_str(),
        submission.answer.key.as_str(),
    )
}

/// Two requests of one group for the same txRef cannot share a statement; the second runs after the group.
fn split_twins(members: Vec<Member>) -> (Vec<Member>, Vec<Member>) {
    let mut seen = std::collections::HashSet::with_capacity(members.len());
    members.into_iter().partition(|member| {
        let candidate = member.submission.candidate.as_ref();
        candidate.is_none_or(|c| seen.insert(c.intent.preimage.tx_ref.clone()))
    })
}

fn settle_all(members: Vec<Member>, outcomes: Vec<Outcome>) {
    for (member, outcome) in members.into_iter().zip(outcomes) {
        member.settle(outcome);
    }
}

/// The transaction is gone as a whole, and perhaps only one member is to blame.
fn nothing_happened_to_some(error: &StorageError) -> bool {
    match error {
        StorageError::Conflict(contention) => !matches!(contention, ConflictKind::Stale(_)),
        StorageError::Corrupt { .. } | StorageError::Bug { .. } => true,
        StorageError::Unavailable { .. } | StorageError::CommitUnknown { .. } => false,
    }
}

/// What a request gets that waited for an equal one.
fn again(landed: Landed) -> Outcome {
    match landed.outcome {
        Outcome::Stored(answer) | Outcome::Replayed(answer) => Outcome::Replayed(answer),
        refused @ Outcome::Refused(_) => refused,
    }
}

fn in_progress() -> Problem {
    Problem::new(
        Code::RequestInProgress,
        "Wait a second and send the same request again.",
    )
}

pub(super) fn reused() -> Problem {
    Problem::new(Code::IdempotencyKeyReused, "Use a new key for a new request.")
}
