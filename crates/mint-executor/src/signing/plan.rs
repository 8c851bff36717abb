//! Decides which of the ready items go into the next batch, and what happens to the others.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chain::fees::{FeeAboveCap, FeePolicy};
use chain::query::BlockHeader;
use domain::command::{Command, WorkItemState};
use domain::ids::{IntentId, MessageId};
use domain::intent::{Cause, ChainLeg, IllegalTransition};
use storage::executor::attempts;
use storage::executor::items::{self, WorkItemChange, WorkItemRow};
use storage::executor::legs::{self, ChainLegRow, TransitionReason};
use storage::executor::signers::{self, SignerLease};
use storage::{DbSession, DbTransaction, StorageError};

use super::cancel::CancelRequest;
use crate::error::WorkError;
use crate::rules::batching::{self, BatchLimits};
use crate::rules::eligibility::{Eligibility, eligibility, waiting_legs};
use crate::rules::simulation::{SimulatedRefusal, Simulation, SimulationResult};
use crate::state::SignerHandle;
use crate::work_items::{CommandDetails, Ineligible, VerifiedCommand, Verifier};

/// Delay of an item that cannot be sent yet: its key is not mounted, another signer owns the intent, or another attempt
/// may still be mined.
const POSTPONE_FOR: Duration = Duration::from_secs(5);

/// An item in a batch.
pub type BatchMember = (MessageId, VerifiedCommand);

#[derive(Debug, Default)]
pub struct BatchPlan {
    /// The verified items, in the order of the batch.
    pub members: Vec<BatchMember>,
    pub changes: Vec<WorkItemChange>,
    /// Items whose intent is cancelled if the chain has no record of it.
    pub cancel: Vec<CancelRequest>,
    /// Eligible items that the simulation withholds.
    pub refused: Vec<(WorkItemRow, SimulatedRefusal)>,
    /// Parked items with class and text, logged after the commit.
    pub parked: Vec<(WorkItemRow, &'static str, String)>,
}

/// What the rows say about the signer and the intents, read after the legs.
#[derive(Debug)]
pub struct BatchConstraints {
    /// The signer of the batch.
    own_signer: [u8; 20],
    /// Intents with an item in an attempt.
    in_attempt: HashSet<IntentId>,
    /// Intents with an attempt that is not mined.
    in_flight: HashSet<IntentId>,
    /// Signers that released their intents.
    released: HashSet<[u8; 20]>,
}

impl BatchConstraints {
    pub async fn read(
        session: &impl DbSession,
        lease: &SignerLease,
        legs: &[ChainLegRow],
    ) -> Result<Self, StorageError> {
        let ids: Vec<IntentId> = legs.iter().map(|leg| leg.intent_id).collect();
        let others = legs
            .iter()
            .filter_map(|leg| leg.signer)
            .filter(|other| *other != lease.signer);
        Ok(Self {
            own_signer: lease.signer,
            in_attempt: items::in_attempt(session, &ids).await?,
            in_flight: attempts::in_flight(session, &ids).await?,
            released: signers::released(session, &others.collect::<Vec<_>>()).await?,
        })
    }

    /// An attempt with the intent may still be mined.
    fn is_in_flight(&self, intent: &IntentId) -> bool {
        self.in_flight.contains(intent)
    }

    /// An intent stays with the signer of its first attempt until that signer's nonces are final.
    fn belongs_to_another_signer(&self, leg: &ChainLegRow) -> bool {
        leg.signer
            .is_some_and(|signer| signer != self.own_signer && !self.released.contains(&signer))
    }
}

/// The items that are ready now, with their legs and constraints.
#[derive(Debug)]
pub struct ReadyItems {
    pub items: Vec<WorkItemRow>,
    pub legs: Vec<ChainLegRow>,
    pub constraints: BatchConstraints,
}

/// No item is there whose fee could be above the cap.
const fn nothing_waits(items: &[WorkItemRow]) -> bool {
    items.is_empty()
}

/// Plans the batches of one signer.
#[derive(Clone)]
pub struct Planner {
    pub signer: Arc<SignerHandle>,
    pub verifier: Verifier,
    pub limits: BatchLimits,
    pub fees: FeePolicy,
    pub max_in_flight: u64,
    pub payment_window_seconds: u64,
}

impl Planner {
    /// `None` when no item is ready. The rows are not locked and may change at once.
    pub async fn find_ready(
        &self,
        session: &impl DbSession,
        lease: &SignerLease,
        command: Command,
        head: &BlockHeader,
    ) -> Result<Option<ReadyItems>, WorkError> {
        if self.is_full(session, lease).await? {
            return Ok(None);
        }
        let room = self.max_items(command, head);
        let page = room.as_ref().map_or(1, |room| *room);
        let items = items::ready(session, command, &waiting_legs(command), &lease.signer, page).await?;
        if nothing_waits(&items) {
            return Ok(None);
        }
        // Fees matter only if there is an item.
        room?;
        let ids: Vec<IntentId> = items.iter().map(|item| item.intent_id).collect();
        let legs = legs::read(session, &ids).await?;
        let constraints = BatchConstraints::read(session, lease, &legs).await?;
        Ok(Some(ReadyItems {
            items,
            legs,
            constraints,
        }))
    }

    /// The same under locks, of items that a draft considered; `None` when none of them is ready any more.
    pub async fn lock_ready(
        &self,
        tx: &DbTransaction<'_>,
        lease: &SignerLease,
        command: Command,
        room: usize,
        considered: &HashSet<MessageId>,
    ) -> Result<Option<ReadyItems>, WorkError> {
        if self.is_full(tx, lease).await? {
            return Ok(None);
        }
        let mut items = items::ready(tx, command, &waiting_legs(command), &lease.signer, room).await?;
        // Items that arrived since then are for the next batch.
        items.retain(|item| considered.contains(&item.message_id));
        if items.is_empty() {
            return Ok(None);
        }
        let ids: Vec<IntentId> = items.iter().map(|item| item.intent_id).collect();
        let legs = legs::lock(tx, &ids).await?;
        let constraints = BatchConstraints::read(tx, lease, &legs).await?;
        Ok(Some(ReadyItems {
            items,
            legs,
            constraints,
        }))
    }

    /// The most items that one transaction may carry now.
    pub fn max_items(&self, command: Command, head: &BlockHeader) -> Result<usize, FeeAboveCap> {
        batching::max_items_at(command, self.limits, &self.fees, head)
    }

    /// As many transactions wait for a block as may.
    async fn is_full(&self, session: &impl DbSession, lease: &SignerLease) -> Result<bool, WorkError> {
        let open = attempts::open_count(session, &lease.signer, self.signer.confirmed_nonce()).await?;
        Ok(open >= self.signer.in_flight_limit(self.max_in_flight))
    }

    /// Verifies each item, and advances the legs of the members: the eligible items that the simulation does not withhold.
    pub fn plan(
        &self,
        command: Command,
        ready: &mut ReadyItems,
        simulation: &Simulation,
    ) -> Result<BatchPlan, IllegalTransition> {
        let ReadyItems {
            items,
            legs,
            constraints,
        } = ready;
        let mut plan = BatchPlan::default();
        let mut taken = HashSet::new();
        let limit = items.first().and_then(|item| item.max_batch_size);
        for item in &*items {
            let Some(leg) = legs.iter_mut().find(|leg| leg.intent_id == item.intent_id) else {
                // Somebody added this row by hand: it has no intent of ours.
                plan.park(item, "no_leg", "no leg belongs to this item");
                continue;
            };
            let verified = match self.verifier.verify(item) {
                Ok(verified) => verified,
                Err(ineligible) => {
                    plan.set_aside(item, ineligible);
                    continue;
                }
            };
            let fit = eligibility(command, leg.leg, self.is_payment_window_over(item, &verified));
            match fit {
                // Another message's deposit of the same intent is not mined yet: its result decides.
                Eligibility::Ready | Eligibility::Cancel
                    if command == Command::Submit && constraints.in_attempt.contains(&item.intent_id) =>
                {
                    plan.postpone(item, "a deposit is under way");
                }
                Eligibility::NotYet => {}
                Eligibility::AlreadyDone => plan.mark_done(item, leg.leg),
                Eligibility::Cancel => plan.cancel.push(CancelRequest {
                    item: Some(item.message_id),
                    intent: item.intent_id,
                }),
                Eligibility::Ready if constraints.belongs_to_another_signer(leg) => {
                    plan.postpone(item, "the intent belongs to another signer");
                }
                // The item is ready again after a fork, but a later attempt holds it too: that attempt decides.
                Eligibility::Ready if constraints.is_in_flight(&item.intent_id) => {
                    plan.postpone(item, "an attempt with it may still be mined");
                }
                Eligibility::Ready if !taken.insert(item.intent_id) => plan.mark_done(item, leg.leg),
                Eligibility::Ready if !plan.accepts(item, &verified, limit) => {}
                Eligibility::Ready => match simulation.result_for(item.message_id) {
                    Some(SimulationResult::Send) => {
                        move_leg(constraints.own_signer, command, leg, item.message_id)?;
                        plan.include(item, verified);
                    }
                    Some(SimulationResult::Withhold(refusal)) => plan.refused.push((item.clone(), refusal)),
                    // It arrived after the simulation; the next batch includes it.
                    None => {}
                },
            }
        }
        Ok(plan)
    }

    /// Whether the payment window is over by the database's clock, so that nothing may be deposited.
    fn is_payment_window_over(&self, item: &WorkItemRow, verified: &VerifiedCommand) -> bool {
        let CommandDetails::Submit { accepted_at } = verified.details else {
            return false;
        };
        let window = i64::try_from(self.payment_window_seconds).unwrap_or(i64::MAX);
        let end = accepted_at.saturating_add(window);
        match u32::try_from(end) {
            Ok(end) => item.db_now > f64::from(end),
            Err(_) => end < 0,
        }
    }
}

fn move_leg(
    signer: [u8; 20],
    command: Command,
    leg: &mut ChainLegRow,
    message_id: MessageId,
) -> Result<(), IllegalTransition> {
    let to = match command {
        Command::Submit => ChainLeg::Submitting,
        Command::Execute => ChainLeg::Executing,
        Command::Refund => ChainLeg::Refunding,
    };
    leg.signer = Some(signer);
    leg.reason = None;
    let because = TransitionReason {
        name: "signed",
        tx_hash: None,
        message_id: Some(message_id),
    };
    leg.advance(to, Cause::Commanded, because)?;
    Ok(())
}

impl BatchPlan {
    /// Whether the batch accepts the item: items with a batch limit share a batch only with items of the same limit, and a
    /// refund batch has one reason.
    fn accepts(&self, item: &WorkItemRow, verified: &VerifiedCommand, limit: Option<u32>) -> bool {
        let room = limit.and_then(|n| usize::try_from(n).ok()).unwrap_or(usize::MAX);
        let alike = self
            .members
            .first()
            .is_none_or(|(_, first)| match (first.details, verified.details) {
                (CommandDetails::Refund { reason: one }, CommandDetails::Refund { reason: other }) => {
                    one == other
                }
                _ => true,
            });
        item.max_batch_size == limit && self.members.len() < room && alike
    }

    fn include(&mut self, item: &WorkItemRow, verified: VerifiedCommand) {
        let mut change = WorkItemChange::to(item.message_id, WorkItemState::InAttempt);
        change.max_batch_size = item.max_batch_size;
        self.changes.push(change);
        self.members.push((item.message_id, verified));
    }

    fn mark_done(&mut self, item: &WorkItemRow, leg: ChainLeg) {
        let change = WorkItemChange::to(item.message_id, WorkItemState::Done);
        self.changes
            .push(change.with_reason(format!("nothing left to do: {leg}")));
    }

    fn postpone(&mut self, item: &WorkItemRow, why: &str) {
        let mut change = WorkItemChange::to(item.message_id, WorkItemState::Ready)
            .with_reason(why)
            .delayed_by(POSTPONE_FOR);
        change.max_batch_size = item.max_batch_size;
        self.changes.push(change);
    }

    fn park(&mut self, item: &WorkItemRow, class: &'static str, text: &str) {
        self.parked.push((item.clone(), class, text.to_owned()));
        self.changes
            .push(WorkItemChange::park(item.message_id, class, text));
    }

    fn set_aside(&mut self, item: &WorkItemRow, ineligible: Ineligible) {
        match ineligible {
            Ineligible::Wait(why) => self.postpone(item, &why),
            Ineligible::Park { class, text } => self.park(item, class, &text),
        }
    }
}
