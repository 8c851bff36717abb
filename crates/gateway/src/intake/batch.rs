//! One transaction for several requests: claims their idempotency keys, checks limits, inserts intents and commands. The
//! caller commits.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use domain::idempotency::{Claim, claim};
use domain::ids::IntegratorId;
use domain::key_ring::KeyRing;
use domain::money::BaseUnits;
use storage::gateway::idempotency::{self, IdempotencyScope, StoredAnswer};
use storage::gateway::intents::{self, MintIntent};
use storage::gateway::limits;
use storage::outbox::OutboxRow;
use storage::{DbTransaction, Outbox, StorageError};

use super::daily_limit::{PendingEntry, over_the_limit, totals};
use super::submission::{IntakeResult, SealedIntent, Submission, reused};
use super::unpaid::UnpaidReservation;
use crate::answers::{self, UnsealedAnswer};
use crate::error::{Code, Problem};
use crate::observe;

/// `Retry-After` during a halt. A person ends it, so an immediate retry is useless.
const HALTED_RETRY_SECONDS: u32 = 30;

/// The limits and windows of the policy that the intake applies.
#[derive(Clone, Debug)]
pub struct IntakeLimits {
    pub window_seconds: f64,
    pub payment_seconds: u32,
    pub daily_limit: BaseUnits,
}

/// The state of one submission.
#[derive(Debug)]
enum EntryState<'a> {
    /// Its key is claimed here, and it may still become an intent.
    Pending(&'a SealedIntent),
    /// Its key was claimed by an earlier request.
    AlreadyClaimed,
    Decided(IntakeResult),
}

/// The submissions, ordered by idempotency scope, with the state of each.
#[derive(Debug)]
pub struct IntakeBatch<'a> {
    submissions: &'a [&'a Submission],
    states: Vec<EntryState<'a>>,
    /// Submissions whose keys were claimed here and must be released.
    released: Vec<usize>,
}

impl<'a> IntakeBatch<'a> {
    /// Claims every free key together with its answer.
    pub async fn claim(
        tx: &DbTransaction<'_>,
        submissions: &'a [&'a Submission],
        rules: &IntakeLimits,
    ) -> Result<Self, StorageError> {
        let answers: Vec<&StoredAnswer> = submissions.iter().map(|submission| &submission.answer).collect();
        let claimed = idempotency::claim_batch(tx, &answers, rules.window_seconds).await?;
        let claimed: HashSet<(&str, &str)> = claimed.iter().map(|(i, k)| (i.as_str(), k.as_str())).collect();
        let state = |submission: &&'a Submission| match &submission.intent {
            _ if !claimed.contains(&submission.scope()) => EntryState::AlreadyClaimed,
            Some(sealed) => EntryState::Pending(sealed),
            None => EntryState::Decided(IntakeResult::Stored(Arc::new(submission.answer.clone()))),
        };
        let states = submissions.iter().map(state).collect();
        Ok(Self {
            submissions,
            states,
            released: Vec::new(),
        })
    }

    /// Decides the submissions whose key was claimed before: they get the stored answer if it is genuine and theirs.
    pub async fn answer_claimed(
        &mut self,
        tx: &DbTransaction<'_>,
        keys: &KeyRing,
    ) -> Result<(), StorageError> {
        let is_known = |index: &usize| matches!(self.states[*index], EntryState::AlreadyClaimed);
        let known: Vec<usize> = (0..self.submissions.len()).filter(is_known).collect();
        if known.is_empty() {
            return Ok(());
        }
        let scopes: Vec<IdempotencyScope<'_>> = known.iter().map(|index| self.scope(*index)).collect();
        let mut stored = HashMap::new();
        for answer in idempotency::read_batch(tx, &scopes).await? {
            match answer {
                Ok(answer) => {
                    stored.insert((answer.integrator.clone(), answer.key.clone()), answer);
                }
                // Its submission finds no genuine answer and is refused.
                Err(error) => observe::unreadable_row(&error),
            }
        }
        for index in known {
            let (integrator, key) = self.scope(index);
            let answer = stored.remove(&(integrator.clone(), key.clone()));
            self.states[index] = EntryState::Decided(replayed_result(self.submissions[index], answer, keys));
        }
        Ok(())
    }

    /// Refuses all new intents. Stored answers are still replayed.
    pub fn halt(&mut self) {
        for index in self.undecided() {
            let detail = "New intents are not accepted at the moment.";
            let problem = Problem {
                retry_after: Some(HALTED_RETRY_SECONDS),
                ..Problem::new(Code::Unavailable, detail)
            };
            self.release(index, problem);
        }
    }

    /// Refuses intents beyond an integrator's limit of unpaid intents.
    pub fn limit_unpaid(&mut self, reservation: &mut UnpaidReservation<'_>) {
        let mut by_integrator: BTreeMap<&IntegratorId, Vec<usize>> = BTreeMap::new();
        for (index, sealed) in self.pending() {
            by_integrator
                .entry(&sealed.intent.integrator)
                .or_default()
                .push(index);
        }
        for (integrator, indexes) in by_integrator {
            let allowed =
                usize::try_from(reservation.reserve(integrator, indexes.len() as u64)).unwrap_or(usize::MAX);
            for index in indexes.into_iter().skip(allowed) {
                let detail = "Wait until some of your intents are paid, or expire.";
                self.release(index, Problem::new(Code::TooManyUnpaid, detail));
            }
        }
    }

    /// Charges each user's daily limit, and refuses what exceeds it; that answer is stored.
    pub async fn charge_daily_limit(
        &mut self,
        tx: &DbTransaction<'_>,
        rules: &IntakeLimits,
        keys: &KeyRing,
    ) -> Result<(), StorageError> {
        let pending = self.pending();
        if pending.is_empty() {
            return Ok(());
        }
        let requested = totals(&pending)?;
        let charges: Vec<limits::Charge> = requested.iter().map(|(user, amount)| (*user, *amount)).collect();
        let mut spent = HashMap::new();
        for (user, total) in limits::charge_batch(tx, &charges).await? {
            if total > rules.daily_limit {
                let before = requested
                    .get(&user)
                    .and_then(|requested| total.checked_sub(*requested));
                spent.insert(
                    user,
                    before.ok_or_else(|| StorageError::bug("a day's total shrank"))?,
                );
            }
        }
        if spent.is_empty() {
            return Ok(());
        }
        let over = over_the_limit(&pending, spent, rules.daily_limit)?;
        self.refuse_over_limit(tx, &over, keys).await
    }

    /// Refuses submissions over the limit. Those whose txRef exists get that answer instead, since it comes first.
    async fn refuse_over_limit(
        &mut self,
        tx: &DbTransaction<'_>,
        over: &[PendingEntry<'a>],
        keys: &KeyRing,
    ) -> Result<(), StorageError> {
        limits::uncharge_batch(tx, &totals(over)?.into_iter().collect::<Vec<_>>()).await?;
        let taken = holders_of(tx, over).await?;
        for (index, sealed) in over {
            if let Some(holder) = taken.get(sealed.intent.preimage.tx_ref.as_str()) {
                self.release(*index, tx_ref_exists(holder, &sealed.intent.integrator, keys));
                continue;
            }
            let detail = "Ask again tomorrow (UTC), or for less.";
            let problem = Problem::new(Code::DailyLimitExceeded, detail);
            let answer = refusal(self.submissions[*index], &problem, keys)?;
            idempotency::replace(tx, &answer).await?;
            self.states[*index] = EntryState::Decided(IntakeResult::Stored(Arc::new(answer)));
        }
        Ok(())
    }

    /// Inserts the pending intents with their commands. Refuses those whose txRef exists.
    pub async fn insert(&mut self, tx: &DbTransaction<'_>, keys: &KeyRing) -> Result<(), StorageError> {
        let mut pending = self.pending();
        if pending.is_empty() {
            return Ok(());
        }
        // Every batch inserts in the same order, so that two batches never deadlock.
        pending.sort_unstable_by(|a, b| a.1.intent.preimage.tx_ref.cmp(&b.1.intent.preimage.tx_ref));
        let rows: Vec<_> = pending.iter().map(|(_, sealed)| &sealed.intent).collect();
        let inserted: HashSet<String> = intents::insert_batch(tx, &rows).await?.into_iter().collect();
        let is_new =
            |pending: &PendingEntry<'_>| inserted.contains(pending.1.intent.preimage.tx_ref.as_str());
        let (new, taken): (Vec<PendingEntry<'a>>, Vec<PendingEntry<'a>>) =
            pending.into_iter().partition(is_new);
        self.refuse_taken(tx, &taken, keys).await?;
        let messages: Vec<OutboxRow> = new.iter().map(|(_, sealed)| outbox_row(sealed)).collect();
        Outbox::Gateway.push_many(tx, &messages).await?;
        for (index, _) in new {
            let answer = Arc::new(self.submissions[index].answer.clone());
            self.states[index] = EntryState::Decided(IntakeResult::Stored(answer));
        }
        Ok(())
    }

    async fn refuse_taken(
        &mut self,
        tx: &DbTransaction<'_>,
        taken: &[PendingEntry<'a>],
        keys: &KeyRing,
    ) -> Result<(), StorageError> {
        if taken.is_empty() {
            return Ok(());
        }
        limits::uncharge_batch(tx, &totals(taken)?.into_iter().collect::<Vec<_>>()).await?;
        let holders = holders_of(tx, taken).await?;
        for (index, sealed) in taken {
            let holder = holders.get(sealed.intent.preimage.tx_ref.as_str());
            let integrator = &sealed.intent.integrator;
            let problem = holder.map_or_else(Problem::internal, |h| tx_ref_exists(h, integrator, keys));
            self.release(*index, problem);
        }
        Ok(())
    }

    /// Releases the keys of refused submissions. The last statement before the commit.
    pub async fn release_keys(&self, tx: &DbTransaction<'_>) -> Result<(), StorageError> {
        if !self.released.is_empty() {
            let scopes: Vec<IdempotencyScope<'_>> =
                self.released.iter().map(|index| self.scope(*index)).collect();
            idempotency::release_batch(tx, &scopes).await?;
        }
        Ok(())
    }

    /// The number of inserted intents by integrator.
    pub fn accepted(&self) -> BTreeMap<&'a IntegratorId, u64> {
        let mut accepted = BTreeMap::new();
        for (submission, state) in self.submissions.iter().zip(&self.states) {
            if matches!(state, EntryState::Decided(IntakeResult::Stored(answer)) if answer.status == 201) {
                *accepted.entry(&submission.answer.integrator).or_default() += 1;
            }
        }
        accepted
    }

    pub fn into_results(self) -> Vec<IntakeResult> {
        let result = |state| match state {
            EntryState::Decided(result) => result,
            EntryState::Pending(_) | EntryState::AlreadyClaimed => IntakeResult::Refused(Problem::internal()),
        };
        self.states.into_iter().map(result).collect()
    }

    /// Indexes of the pending submissions, which no stored answer decides.
    fn undecided(&self) -> Vec<usize> {
        self.pending().into_iter().map(|(index, _)| index).collect()
    }

    fn pending(&self) -> Vec<PendingEntry<'a>> {
        let pending = |(index, state): (usize, &EntryState<'a>)| match state {
            EntryState::Pending(sealed) => Some((index, *sealed)),
            EntryState::AlreadyClaimed | EntryState::Decided(_) => None,
        };
        self.states.iter().enumerate().filter_map(pending).collect()
    }

    fn scope(&self, index: usize) -> IdempotencyScope<'a> {
        let answer = &self.submissions[index].answer;
        (&answer.integrator, &answer.key)
    }

    fn release(&mut self, index: usize, problem: Problem) {
        self.released.push(index);
        self.states[index] = EntryState::Decided(IntakeResult::Refused(problem));
    }
}

/// The result for a key that was claimed before. The MAC is verified first, because not even the fingerprint of a
/// tampered row is trustworthy.
fn replayed_result(submission: &Submission, stored: Option<StoredAnswer>, keys: &KeyRing) -> IntakeResult {
    match stored {
        Some(answer) if answers::is_genuine(&answer, keys) => {
            match claim(Some(answer.fingerprint), submission.answer.fingerprint) {
                Claim::Replay | Claim::Fresh => IntakeResult::Replayed(Arc::new(answer)),
                Claim::Reused => IntakeResult::Refused(reused()),
            }
        }
        _ => {
            observe::tampered("idempotency_keys", &submission.request_id);
            let detail = "This answer is withheld; send us the requestId.";
            IntakeResult::Refused(Problem::new(Code::StoredResponseTampered, detail))
        }
    }
}

/// Builds the stored refusal that replaces the answer that the key was claimed with.
fn refusal(submission: &Submission, problem: &Problem, keys: &KeyRing) -> Result<StoredAnswer, StorageError> {
    let answer = UnsealedAnswer {
        integrator: submission.answer.integrator.clone(),
        key: submission.answer.key.clone(),
        fingerprint: submission.answer.fingerprint,
        status: problem.code.properties().status,
        location: None,
        body: problem.body(&submission.request_id).into(),
    };
    answer
        .seal(keys)
        .map_err(|error| StorageError::bug(error.to_string()))
}

async fn holders_of(
    tx: &DbTransaction<'_>,
    pending: &[PendingEntry<'_>],
) -> Result<HashMap<String, MintIntent>, StorageError> {
    let tx_refs: Vec<_> = pending
        .iter()
        .map(|(_, sealed)| &sealed.intent.preimage.tx_ref)
        .collect();
    let holders = intents::find_by_tx_refs(tx, &tx_refs).await?;
    Ok(holders
        .into_iter()
        .map(|holder| (holder.preimage.tx_ref.as_str().to_owned(), holder))
        .collect())
}

/// The refusal of a txRef that exists. Only the intent's owner gets its location, and only if the row is genuine.
fn tx_ref_exists(holder: &MintIntent, integrator: &IntegratorId, keys: &KeyRing) -> Problem {
    let location = (holder.integrator == *integrator && answers::is_genuine_intent(holder, keys))
        .then(|| format!("/mint-intents/{}", holder.intent_id));
    Problem {
        location,
        ..Problem::new(Code::TxRefExists, "A txRef is used once, for ever.")
    }
}

fn outbox_row(sealed: &SealedIntent) -> OutboxRow {
    OutboxRow {
        message_id: sealed.message.message_id,
        queue: sealed.message.queue.name(),
        subject: sealed.intent.preimage.tx_ref.as_str().to_owned(),
        envelope: sealed.message.bytes.clone(),
    }
}
