//! The same bytes again, for every attempt that missed a block: a send without a good answer is unknown, never failed.
//! What waits too long at the head of the line is signed again at a higher price.

use std::collections::HashMap;

use chain::TxHash;
use chain::watch::Header;
use storage::executor::attempts::{self, AttemptRow};
use storage::executor::signers::Lease;

use super::replace;
use crate::context::{Context, WorkError};
use crate::observe;
use crate::submit::note_sent;

/// Missing nonces filled per head.
const GAPS_AT_ONCE: u64 = 16;

/// Heads at which an attempt was sent, as far as we know.
#[derive(Clone, Copy, Debug)]
struct Sent {
    first: u64,
    last: u64,
}

/// Attempts without a block, and when each was sent.
#[derive(Debug, Default)]
pub struct Resender {
    sent: HashMap<i64, Sent>,
    began: bool,
    /// The attempt that may not get dearer, told once.
    capped: Option<i64>,
}

impl Resender {
    /// After a start: whatever lies in the rows may never have been sent.
    pub async fn first(&mut self, ctx: &Context, lease: &Lease, head: &Header) -> Result<(), WorkError> {
        if self.began {
            Ok(())
        } else {
            self.run(ctx, lease, head, None).await
        }
    }

    /// An attempt that should have a block by now, or of which we know nothing yet.
    pub fn is_overdue(&self, attempt: i64, block: u64) -> bool {
        !self.began || self.sent.get(&attempt).is_some_and(|sent| block >= sent.last + 2)
    }

    /// Once per head. `next_nonce`: the signer's count at that head, where it was asked for.
    pub async fn run(
        &mut self,
        ctx: &Context,
        lease: &Lease,
        head: &Header,
        next_nonce: Option<u64>,
    ) -> Result<(), WorkError> {
        let client = ctx.pool.get().await?;
        let open = attempts::open(&client, &ctx.signer_bytes()).await?;
        drop(client);
        self.sent
            .retain(|id, _| open.iter().any(|attempt| attempt.id == *id));
        let mut again = Vec::new();
        for attempt in &open {
            let due = match self.sent.get(&attempt.id) {
                // The submitter has just sent it, unless we have just started.
                None => !self.began,
                Some(sent) => head.number >= sent.last + 2,
            };
            if due {
                again.push(attempt.id);
                send(ctx, attempt).await;
            }
            if due || !self.sent.contains_key(&attempt.id) {
                self.note(attempt.id, head.number);
            }
        }
        self.began = true;
        attempts::mark_broadcast(&ctx.pool.get().await?, &again).await?;
        let (Some(next), Some(lowest)) = (next_nonce, open.first()) else {
            return Ok(());
        };
        self.fill_gaps(ctx, lease, head, next..lowest.nonce).await?;
        // A nonce that is used already needs no better price.
        let waiting = open.partition_point(|attempt| attempt.nonce < next);
        self.raise(ctx, lease, head, &open[waiting..]).await
    }

    fn note(&mut self, attempt: i64, head: u64) {
        let sent = self.sent.entry(attempt).or_insert(Sent {
            first: head,
            last: head,
        });
        sent.last = head;
    }

    /// Nonces that a fork took back from somebody else: everything above them would wait for ever.
    async fn fill_gaps(
        &mut self,
        ctx: &Context,
        lease: &Lease,
        head: &Header,
        missing: std::ops::Range<u64>,
    ) -> Result<(), WorkError> {
        let bounded = missing.start..missing.end.min(missing.start.saturating_add(GAPS_AT_ONCE));
        for nonce in bounded {
            // A fork that we have not followed yet.
            if attempts::has_block(&ctx.pool.get().await?, &lease.signer, nonce).await? {
                return Ok(());
            }
            let attempt = match replace::fill_gap(ctx, lease, head, nonce).await {
                Err(WorkError::TooDear(too_dear)) => {
                    observe::fee_capped(nonce, &too_dear);
                    return Ok(());
                }
                filled => filled?,
            };
            self.note(attempt.id, head.number);
            send(ctx, &attempt).await;
        }
        Ok(())
    }

    async fn raise(
        &mut self,
        ctx: &Context,
        lease: &Lease,
        head: &Header,
        open: &[AttemptRow],
    ) -> Result<(), WorkError> {
        let since = |id| self.sent.get(&id).map(|sent: &Sent| sent.first);
        let Some(stuck) = stuck(open, since, head.number, ctx.tuning.replace_after) else {
            if self.capped.take().is_some() {
                observe::fee_cap_left();
            }
            return Ok(());
        };
        match replace::dearer(ctx, lease, head, stuck).await {
            Ok(Some(attempt)) => {
                self.note(attempt.id, head.number);
                send(ctx, &attempt).await;
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(WorkError::TooDear(too_dear)) => {
                if self.capped.replace(stuck.id) != Some(stuck.id) {
                    observe::fee_capped(stuck.nonce, &too_dear);
                }
                Ok(())
            }
            Err(error) => Err(error),
        }
    }
}

/// The last attempt of the lowest open nonce, once it has waited for so many blocks. What lies behind it waits for it.
fn stuck(
    open: &[AttemptRow],
    since: impl Fn(i64) -> Option<u64>,
    head: u64,
    patience: u64,
) -> Option<&AttemptRow> {
    let lowest = open.first()?.nonce;
    let last = open.iter().take_while(|attempt| attempt.nonce == lowest).last()?;
    since(last.id)
        .is_some_and(|first| head >= first.saturating_add(patience))
        .then_some(last)
}

/// Only what our signer signed under this hash and nonce leaves the process.
async fn send(ctx: &Context, attempt: &AttemptRow) {
    if replace::genuine(ctx, attempt).is_none() {
        return;
    }
    let hash = TxHash::from_bytes(attempt.tx_hash);
    let outcome = ctx.chain.send_raw(&attempt.raw, hash).await;
    note_sent(ctx, hash, &outcome);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(id: i64, nonce: u64) -> AttemptRow {
        AttemptRow {
            id,
            nonce,
            tx_hash: [0; 32],
            raw: Vec::new(),
            command: "execute".into(),
            block_number: None,
        }
    }

    #[test]
    fn only_the_last_attempt_of_the_lowest_nonce_is_stuck_and_only_after_its_patience() {
        let open = [attempt(1, 7), attempt(4, 7), attempt(2, 8)];
        let since = |id| Some(if id == 4 { 20 } else { 10 });
        let found = |head| stuck(&open, since, head, 5).map(|attempt| attempt.id);
        assert_eq!((found(24), found(25)), (None, Some(4)));
        assert!(stuck(&open, |_| None, 100, 5).is_none());
        assert!(stuck(&[], since, 100, 5).is_none());
    }
}
