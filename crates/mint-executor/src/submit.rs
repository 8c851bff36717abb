//! Signing and sending: one SQL commit binds nonce, signed bytes, members and fencing token; only then are the
//! bytes broadcast. A lost answer changes nothing here: `confirm` broadcasts the same bytes again.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use chain::transaction::{SignedTransaction, Transaction};
use chain::watch::Header;
use chain::{SendOutcome, TxHash, calls};
use domain::ids::{IntentId, MessageId, Preimage};
use runtime::Stop;
use runtime::halts::Halts;
use storage::executor::attempts::NewAttempt;
use storage::executor::items::{WorkCommand, ready};
use storage::executor::signers::Lease;
use storage::executor::{attempts, items, legs, signers};
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::Span;

use crate::batch;
use crate::context::{Context, WorkError};
use crate::decide::waiting_legs;
use crate::key::Key;
use crate::observe;
use crate::submit::plan::{Plan, Standing};
use crate::undo::{self, Wanted};
use crate::verify::{Order, Verified};

const TICK: Duration = Duration::from_millis(250);
/// Rounds without a transaction that a command may have in a row.
const SETTLED_AT_ONCE: u32 = 8;

/// What one round came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Built {
    /// Nothing could go.
    Nothing,
    /// Items were settled without a transaction; look again.
    Settled,
    /// Stored, and not broadcast yet.
    Attempt {
        id: i64,
        signed: SignedTransaction,
        items: usize,
        full: bool,
    },
}

/// Builds and sends batches of one key until the stop.
pub async fn run(ctx: Context, key: Arc<Key>, halts: Arc<Halts>, stop: Stop) {
    let mut lanes = WorkCommand::ALL.map(|command| Lane {
        key: key.clone(),
        command,
        gate: ctx.breakers.key_gate(&key, command, &halts),
        last: None,
    });
    let mut due = None;
    while !stop.is_requested() {
        let tick = due
            .unwrap_or_else(|| Instant::now() + TICK)
            .min(Instant::now() + TICK);
        tokio::select! {
            () = stop.requested() => break,
            () = tokio::time::sleep_until(tick) => {}
            () = key.work.notified() => tokio::time::sleep(ctx.tuning.linger).await,
        }
        due = None;
        for lane in &mut lanes {
            due = match lane.work(&ctx).await {
                Ok(wait) => earliest(due, wait),
                Err(error) => {
                    observe::round_failed("submit", &error);
                    due
                }
            };
        }
    }
}

fn earliest(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// One command's batches by one key.
struct Lane {
    key: Arc<Key>,
    command: WorkCommand,
    gate: watch::Receiver<bool>,
    last: Option<Instant>,
}

impl Lane {
    /// Sends what is ready; gives the time before which it need not be asked again.
    async fn work(&mut self, ctx: &Context) -> Result<Option<Instant>, WorkError> {
        let mut settled = 0;
        loop {
            if !*self.gate.borrow() || ctx.problem.borrow().is_some() {
                return Ok(None);
            }
            // Batches that are not full keep a distance, so that company can arrive.
            if let Some(next) = self.last.map(|last| last + ctx.tuning.spacing)
                && Instant::now() < next
            {
                return Ok(Some(next));
            }
            let Some(lease) = self.key.lease_now() else {
                return Ok(None);
            };
            match round(ctx, &self.key, &lease, self.command).await {
                Ok(Built::Attempt { full, .. }) => self.last = (!full).then(Instant::now),
                // The other commands' turn; this one goes on after them.
                Ok(Built::Settled) if settled == SETTLED_AT_ONCE => {
                    return Ok(Some(Instant::now()));
                }
                Ok(Built::Settled) => settled += 1,
                Ok(Built::Nothing) => return Ok(None),
                Err(error) => {
                    if matches!(error, WorkError::NoLease) {
                        self.key.lost(&lease);
                    }
                    return Err(error);
                }
            }
        }
    }
}

/// One batch of a command: build, commit, broadcast.
pub async fn round(
    ctx: &Context,
    key: &Key,
    lease: &Lease,
    command: WorkCommand,
) -> Result<Built, WorkError> {
    let head = (*ctx.head.borrow()).ok_or(WorkError::NoHead)?;
    let (built, rest) = build(ctx, (key, lease), command, &head).await?;
    if let Built::Attempt { id, signed, .. } = &built {
        broadcast(ctx, *id, (&lease.signer, signed)).await;
    }
    if rest.is_empty() {
        return Ok(built);
    }
    undo::run(ctx, lease, &rest).await?;
    Ok(if built == Built::Nothing {
        Built::Settled
    } else {
        built
    })
}

/// Everything up to the commit. Nothing has left the process when it returns.
pub async fn build(
    ctx: &Context,
    (key, lease): (&Key, &Lease),
    command: WorkCommand,
    head: &Header,
) -> Result<(Built, Vec<Wanted>), WorkError> {
    let fees = ctx.tuning.fees.market(head.base_fee)?;
    let mut client = ctx.pool.get().await?;
    let tx = client.begin().await?;
    let nonce = signers::check(&tx, lease).await?.ok_or(WorkError::NoLease)?;
    if attempts::open_count(&tx, &lease.signer).await? >= ctx.tuning.max_in_flight {
        return Ok((Built::Nothing, Vec::new()));
    }
    let room = batch::max_items(command, ctx.tuning.bounds, head.gas_limit);
    let found = ready(&tx, (command, &waiting_legs(command)), &lease.signer, room).await?;
    if found.is_empty() {
        return Ok((Built::Nothing, Vec::new()));
    }
    let ids: Vec<IntentId> = found.iter().map(|item| item.intent_id).collect();
    let mut legs = legs::lock(&tx, &ids).await?;
    let others = legs
        .iter()
        .filter_map(|leg| leg.signer)
        .filter(|other| *other != lease.signer);
    let standing = Standing {
        own: lease.signer,
        busy: items::under_way(&tx, &ids).await?,
        released: signers::released(&tx, &others.collect::<Vec<_>>()).await?,
    };
    let plan = plan::make(ctx, command, &found, (legs.as_mut_slice(), &standing))?;
    let spans: Vec<Span> = plan
        .members
        .iter()
        .map(|(id, member)| observe::signing(command, *id, member))
        .collect();
    items::update(&tx, &plan.changes).await?;
    let Some(data) = calldata(&plan) else {
        legs::save(&tx, &legs).await?;
        tx.commit().await?;
        let built = if plan.changes.is_empty() {
            Built::Nothing
        } else {
            Built::Settled
        };
        return Ok((built, plan.undo));
    };
    let transaction = Transaction {
        chain_id: ctx.policy.chain.chain_id,
        nonce,
        to: ctx.chain.escrow(),
        gas_limit: batch::gas_limit(command, plan.members.len()),
        fees,
        data,
    };
    let signed = transaction.sign(key.signer.as_ref()).await?;
    for leg in &mut legs {
        if plan
            .members
            .iter()
            .any(|(_, member)| member.intent.intent_id() == leg.intent_id)
        {
            leg.tx_hash = Some(*signed.hash.as_bytes());
        }
    }
    let members: Vec<(MessageId, IntentId)> = plan
        .members
        .iter()
        .map(|(id, member)| (*id, member.intent.intent_id()))
        .collect();
    let new = NewAttempt {
        nonce,
        tx_hash: *signed.hash.as_bytes(),
        raw: &signed.raw,
        command: command.name(),
        replaces: None,
        items: &members,
    };
    let id = attempts::insert(&tx, lease, &new).await?;
    legs::save(&tx, &legs).await?;
    signers::raise_nonce(&tx, &lease.signer, nonce + 1).await?;
    tx.commit().await?;
    observe::signed(command, &spans, nonce, &signed.hash);
    let built = Built::Attempt {
        id,
        signed,
        items: members.len(),
        full: members.len() >= room,
    };
    Ok((built, plan.undo))
}

/// `None` when no item may go.
fn calldata(plan: &Plan) -> Option<Vec<u8>> {
    let intents = plan.members.iter().map(|(_, member)| &member.intent);
    match plan.members.first()?.1 {
        Verified {
            order: Order::Submit { .. },
            ..
        } => Some(calls::submit_intents(intents)),
        Verified {
            order: Order::Execute,
            ..
        } => Some(calls::execute_mints(intents.map(Preimage::intent_id))),
        Verified {
            order: Order::Refund { reason },
            ..
        } => Some(calls::refund_intents(
            intents.map(Preimage::intent_id),
            reason.as_str(),
        )),
    }
}

/// Hands stored bytes to the network. Whatever the answer, the rows stay as they are.
pub async fn broadcast(ctx: &Context, attempt: i64, (signer, signed): (&[u8; 20], &SignedTransaction)) {
    let outcome = ctx.chain.send_raw(&signed.raw, signed.hash).await;
    note_sent(ctx, signer, signed.hash, &outcome);
    let noted = async { attempts::mark_broadcast(&ctx.pool.get().await?, &[attempt]).await };
    if let Err(error) = noted.await {
        tracing::debug!(error = %runtime::chain(&error), "the time of a broadcast was not noted");
    }
}

pub fn note_sent(ctx: &Context, signer: &[u8; 20], hash: TxHash, outcome: &SendOutcome) {
    use chain::classify::Rejection;
    observe::sent(hash, outcome);
    match outcome {
        SendOutcome::Rejected(Rejection::InsufficientFunds) => {
            if let Some(key) = ctx.key(signer) {
                key.breaker.trip("the signer has too little gas");
            }
        }
        SendOutcome::Unknown(_) => ctx.breakers.rpc.failure("a send was not answered"),
        SendOutcome::Accepted | SendOutcome::AlreadyKnown | SendOutcome::Rejected(_) => {}
    }
}
