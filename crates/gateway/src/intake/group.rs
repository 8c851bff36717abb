//! One transaction over several requests: claim their keys, grant, insert, command. Nothing here commits.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use domain::address::Address;
use domain::idempotency::{Claim, claim};
use domain::ids::IntegratorId;
use domain::key_ring::KeyRing;
use domain::money::BaseUnits;
use storage::gateway::idempotency::{self, IdempotencyScope, StoredAnswer};
use storage::gateway::intents::{self, MintIntent};
use storage::gateway::limits;
use storage::outbox::OutboxRow;
use storage::{DbTransaction, Outbox, StorageError};

use super::intents::{Candidate, Outcome, Submission, reused, slot_of};
use super::unpaid::Places;
use crate::answers::{self, Draft};
use crate::error::{Code, Problem};
use crate::observe;

/// A halt is a person's doing: asking again at once is in vain.
const HALTED_RETRY_SECONDS: u32 = 30;

/// The policy's part in it.
#[derive(Clone, Debug)]
pub struct Rules {
    pub window_seconds: f64,
    pub payment_seconds: u32,
    pub daily_limit: BaseUnits,
}

/// What is decided about a member.
#[derive(Debug)]
enum Verdict<'a> {
    /// Claimed here, and may still become an intent.
    Open(&'a Candidate),
    /// The key was taken before.
    Known,
    Settled(Outcome),
}

/// A member that may still become an intent.
type Open<'a> = (usize, &'a Candidate);

/// The members, in slot order, with what is decided about each.
#[derive(Debug)]
pub struct Group<'a> {
    members: &'a [&'a Submission],
    verdicts: Vec<Verdict<'a>>,
    /// Claimed here, and to be left free again.
    released: Vec<usize>,
}

impl<'a> Group<'a> {
    /// Claims every free key together with the answer it will have.
    pub async fn claim(
        tx: &DbTransaction<'_>,
        members: &'a [&'a Submission],
        rules: &Rules,
    ) -> Result<Self, StorageError> {
        let answers: Vec<&StoredAnswer> = members.iter().map(|member| &member.answer).collect();
        let claimed = idempotency::claim_batch(tx, &answers, rules.window_seconds).await?;
        let claimed: HashSet<(&str, &str)> = claimed.iter().map(|(i, k)| (i.as_str(), k.as_str())).collect();
        let verdict = |member: &&'a Submission| match &member.candidate {
            _ if !claimed.contains(&slot_of(member)) => Verdict::Known,
            Some(candidate) => Verdict::Open(candidate),
            None => Verdict::Settled(Outcome::Stored(Arc::new(member.answer.clone()))),
        };
        let verdicts = members.iter().map(verdict).collect();
        Ok(Self {
            members,
            verdicts,
            released: Vec::new(),
        })
    }

    /// Settles the members whose key was taken before: the stored answer if it is genuine and theirs.
    pub async fn answer_known(&mut self, tx: &DbTransaction<'_>, keys: &KeyRing) -> Result<(), StorageError> {
        let is_known = |index: &usize| matches!(self.verdicts[*index], Verdict::Known);
        let known: Vec<usize> = (0..self.members.len()).filter(is_known).collect();
        if known.is_empty() {
            return Ok(());
        }
        let slots: Vec<IdempotencyScope<'_>> = known.iter().map(|index| self.slot(*index)).collect();
        let mut stored = HashMap::new();
        for answer in idempotency::read_batch(tx, &slots).await? {
            match answer {
                Ok(answer) => {
                    stored.insert((answer.integrator.clone(), answer.key.clone()), answer);
                }
                // Its member finds nothing genuine and is refused.
                Err(error) => observe::unreadable_row(&error),
            }
        }
        for index in known {
            let (integrator, key) = self.slot(index);
            let answer = stored.remove(&(integrator.clone(), key.clone()));
            self.verdicts[index] = Verdict::Settled(known_outcome(self.members[index], answer, keys));
        }
        Ok(())
    }

    /// Accepts nothing new: who was answered before still gets that answer.
    pub fn halt(&mut self) {
        for (index, _) in self.open() {
            let detail = "New intents are not accepted at the moment.";
            let problem = Problem {
                retry_after: Some(HALTED_RETRY_SECONDS),
                ..Problem::new(Code::Unavailable, detail)
            };
            self.release(index, problem);
        }
    }

    /// Refuses what would let too many intents of one integrator await payment.
    pub fn limit_unpaid(&mut self, places: &mut Places<'_>) {
        let mut by_integrator: BTreeMap<&IntegratorId, Vec<usize>> = BTreeMap::new();
        for (index, candidate) in self.open() {
            by_integrator
                .entry(&candidate.intent.integrator)
                .or_default()
                .push(index);
        }
        for (integrator, indexes) in by_integrator {
            let room = usize::try_from(places.take(integrator, indexes.len() as u64)).unwrap_or(usize::MAX);
            for index in indexes.into_iter().skip(room) {
                let detail = "Wait until some of your intents are paid, or expire.";
                self.release(index, Problem::new(Code::TooManyUnpaid, detail));
            }
        }
    }

    /// Charges each user's day, and refuses what is over the limit; that answer is stored.
    pub async fn charge(
        &mut self,
        tx: &DbTransaction<'_>,
        rules: &Rules,
        keys: &KeyRing,
    ) -> Result<(), StorageError> {
        let open = self.open();
        if open.is_empty() {
            return Ok(());
        }
        let asked = totals(&open)?;
        let charges: Vec<limits::Charge> = asked.iter().map(|(user, amount)| (*user, *amount)).collect();
        let mut spent = HashMap::new();
        for (user, total) in limits::charge_batch(tx, &charges).await? {
            if total > rules.daily_limit {
                let before = asked.get(&user).and_then(|asked| total.checked_sub(*asked));
                spent.insert(
                    user,
                    before.ok_or_else(|| StorageError::bug("a day's total shrank"))?,
                );
            }
        }
        if spent.is_empty() {
            return Ok(());
        }
        let over = over_the_limit(&open, spent, rules.daily_limit)?;
        self.refuse_over_limit(tx, &over, keys).await
    }

    /// A txRef that is taken is told first: the limit has nothing to do with it.
    async fn refuse_over_limit(
        &mut self,
        tx: &DbTransaction<'_>,
        over: &[Open<'a>],
        keys: &KeyRing,
    ) -> Result<(), StorageError> {
        limits::uncharge_batch(tx, &totals(over)?.into_iter().collect::<Vec<_>>()).await?;
        let taken = holders_of(tx, over).await?;
        for (index, candidate) in over {
            if let Some(holder) = taken.get(candidate.intent.preimage.tx_ref.as_str()) {
                self.release(*index, exists(holder, &candidate.intent.integrator, keys));
                continue;
            }
            let detail = "Ask again tomorrow (UTC), or for less.";
            let problem = Problem::new(Code::DailyLimitExceeded, detail);
            let answer = refusal(self.members[*index], &problem, keys)?;
            idempotency::replace(tx, &answer).await?;
            self.verdicts[*index] = Verdict::Settled(Outcome::Stored(Arc::new(answer)));
        }
        Ok(())
    }

    /// Inserts what is still open, with its command; whose txRef is taken learns so.
    pub async fn insert(&mut self, tx: &DbTransaction<'_>, keys: &KeyRing) -> Result<(), StorageError> {
        let mut open = self.open();
        if open.is_empty() {
            return Ok(());
        }
        // The same order in every group, whatever the keys are: no two groups wait for each other.
        open.sort_unstable_by(|a, b| a.1.intent.preimage.tx_ref.cmp(&b.1.intent.preimage.tx_ref));
        let rows: Vec<_> = open.iter().map(|(_, candidate)| &candidate.intent).collect();
        let inserted: HashSet<String> = intents::insert_batch(tx, &rows).await?.into_iter().collect();
        let is_new = |open: &Open<'_>| inserted.contains(open.1.intent.preimage.tx_ref.as_str());
        let (new, taken): (Vec<Open<'a>>, Vec<Open<'a>>) = open.into_iter().partition(is_new);
        self.refuse_taken(tx, &taken, keys).await?;
        let messages: Vec<OutboxRow> = new.iter().map(|(_, candidate)| outbox_row(candidate)).collect();
        Outbox::Gateway.push_many(tx, &messages).await?;
        for (index, _) in new {
            let answer = Arc::new(self.members[index].answer.clone());
            self.verdicts[index] = Verdict::Settled(Outcome::Stored(answer));
        }
        Ok(())
    }

    async fn refuse_taken(
        &mut self,
        tx: &DbTransaction<'_>,
        taken: &[Open<'a>],
        keys: &KeyRing,
    ) -> Result<(), StorageError> {
        if taken.is_empty() {
            return Ok(());
        }
        limits::uncharge_batch(tx, &totals(taken)?.into_iter().collect::<Vec<_>>()).await?;
        let holders = holders_of(tx, taken).await?;
        for (index, candidate) in taken {
            let holder = holders.get(candidate.intent.preimage.tx_ref.as_str());
            let asker = &candidate.intent.integrator;
            let problem = holder.map_or_else(Problem::internal, |h| exists(h, asker, keys));
            self.release(*index, problem);
        }
        Ok(())
    }

    /// Frees the keys of what is not stored. The last statement before the commit.
    pub async fn finish(&self, tx: &DbTransaction<'_>) -> Result<(), StorageError> {
        if !self.released.is_empty() {
            let slots: Vec<IdempotencyScope<'_>> =
                self.released.iter().map(|index| self.slot(*index)).collect();
            idempotency::release_batch(tx, &slots).await?;
        }
        Ok(())
    }

    /// How many intents of whom were inserted.
    pub fn accepted(&self) -> BTreeMap<&'a IntegratorId, u64> {
        let mut accepted = BTreeMap::new();
        for (member, verdict) in self.members.iter().zip(&self.verdicts) {
            if matches!(verdict, Verdict::Settled(Outcome::Stored(answer)) if answer.status == 201) {
                *accepted.entry(&member.answer.integrator).or_default() += 1;
            }
        }
        accepted
    }

    pub fn into_outcomes(self) -> Vec<Outcome> {
        let settled = |verdict| match verdict {
            Verdict::Settled(outcome) => outcome,
            Verdict::Open(_) | Verdict::Known => Outcome::Refused(Problem::internal()),
        };
        self.verdicts.into_iter().map(settled).collect()
    }

    fn open(&self) -> Vec<Open<'a>> {
        let open = |(index, verdict): (usize, &Verdict<'a>)| match verdict {
            Verdict::Open(candidate) => Some((index, *candidate)),
            Verdict::Known | Verdict::Settled(_) => None,
        };
        self.verdicts.iter().enumerate().filter_map(open).collect()
    }

    fn slot(&self, index: usize) -> IdempotencyScope<'a> {
        let answer = &self.members[index].answer;
        (&answer.integrator, &answer.key)
    }

    fn release(&mut self, index: usize, problem: Problem) {
        self.released.push(index);
        self.verdicts[index] = Verdict::Settled(Outcome::Refused(problem));
    }
}

/// The MAC comes before everything: not even the fingerprint of a tampered row is believed.
fn known_outcome(member: &Submission, stored: Option<StoredAnswer>, keys: &KeyRing) -> Outcome {
    match stored {
        Some(answer) if answers::is_genuine(&answer, keys) => {
            match claim(Some(answer.fingerprint), member.answer.fingerprint) {
                Claim::Replay | Claim::Fresh => Outcome::Replayed(Arc::new(answer)),
                Claim::Reused => Outcome::Refused(reused()),
            }
        }
        _ => {
            observe::tampered("idempotency_keys", &member.request_id);
            let detail = "This answer is withheld; tell us the requestId.";
            Outcome::Refused(Problem::new(Code::StoredResponseTampered, detail))
        }
    }
}

/// A refusal that takes the place of the answer a member was claimed with.
fn refusal(member: &Submission, problem: &Problem, keys: &KeyRing) -> Result<StoredAnswer, StorageError> {
    let draft = Draft {
        integrator: member.answer.integrator.clone(),
        key: member.answer.key.clone(),
        fingerprint: member.answer.fingerprint,
        status: problem.code.facts().status,
        location: None,
        body: problem.body(&member.request_id).into(),
    };
    draft
        .seal(keys)
        .map_err(|error| StorageError::bug(error.to_string()))
}

/// What these members ask for, by user.
fn totals(open: &[Open<'_>]) -> Result<BTreeMap<Address, BaseUnits>, StorageError> {
    let mut totals: BTreeMap<Address, BaseUnits> = BTreeMap::new();
    for (_, candidate) in open {
        let total = totals.entry(candidate.intent.preimage.user).or_default();
        *total = total
            .checked_add(candidate.intent.preimage.amount)
            .ok_or_else(overflow)?;
    }
    Ok(totals)
}

/// The members that no longer fit, given what each user had spent before this group.
fn over_the_limit<'a>(
    open: &[Open<'a>],
    mut spent: HashMap<Address, BaseUnits>,
    limit: BaseUnits,
) -> Result<Vec<Open<'a>>, StorageError> {
    let mut over = Vec::new();
    for (index, candidate) in open {
        let Some(spent) = spent.get_mut(&candidate.intent.preimage.user) else {
            continue;
        };
        let total = spent
            .checked_add(candidate.intent.preimage.amount)
            .ok_or_else(overflow)?;
        if total > limit {
            over.push((*index, *candidate));
        } else {
            *spent = total;
        }
    }
    Ok(over)
}

fn overflow() -> StorageError {
    StorageError::bug("a day's total does not fit")
}

async fn holders_of(
    tx: &DbTransaction<'_>,
    open: &[Open<'_>],
) -> Result<HashMap<String, MintIntent>, StorageError> {
    let tx_refs: Vec<_> = open
        .iter()
        .map(|(_, candidate)| &candidate.intent.preimage.tx_ref)
        .collect();
    let holders = intents::find_by_tx_refs(tx, &tx_refs).await?;
    Ok(holders
        .into_iter()
        .map(|holder| (holder.preimage.tx_ref.as_str().to_owned(), holder))
        .collect())
}

/// Only its owner is told where the intent is, and whose it is a changed row cannot say.
fn exists(holder: &MintIntent, asker: &IntegratorId, keys: &KeyRing) -> Problem {
    let location = (holder.integrator == *asker && answers::is_genuine_intent(holder, keys))
        .then(|| format!("/mint-intents/{}", holder.intent_id));
    Problem {
        location,
        ..Problem::new(Code::TxRefExists, "A txRef is used once, for ever.")
    }
}

fn outbox_row(candidate: &Candidate) -> OutboxRow {
    OutboxRow {
        message_id: candidate.message.message_id,
        queue: candidate.message.queue.name(),
        subject: candidate.intent.preimage.tx_ref.as_str().to_owned(),
        envelope: candidate.message.bytes.clone(),
    }
}
