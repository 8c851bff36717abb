//! Keeps the nonces of a signer moving while its lease is held, once per head: fills gaps, and replaces the attempt of
//! the lowest nonce at a higher fee when it waits too long.

use std::sync::Arc;

use chain::BlockRef;
use chain::fees::FeeAboveCap;
use chain::query::BlockHeader;
use runtime::Stop;
use storage::executor::attempts::{self, AttemptRow};
use storage::executor::signers::SignerLease;

use super::replace;
use super::resend::{WaitingSince, send};
use crate::context::{Context, WorkError};
use crate::observe;
use crate::signer_handle::{FeeCapWait, SignerHandle};

/// Maximum number of missing nonces filled per head.
const MAX_GAPS_PER_HEAD: u64 = 16;

/// Manages the nonces of a signer until the stop, while its lease is held.
pub async fn run(ctx: Context, signer: Arc<SignerHandle>, stop: Stop) {
    let mut heads = ctx.head.subscribe();
    let mut nonce_manager = NonceManager::default();
    loop {
        let head = *heads.borrow_and_update();
        match (head, signer.current_lease()) {
            (Some(head), Some(lease)) => {
                if let Err(error) = nonce_manager.on_head(&ctx, (&signer, &lease), &head).await {
                    observe::round_failed("nonces", &error);
                    if matches!(error, WorkError::NoLease) {
                        signer.drop_lease_if(&lease);
                    }
                }
            }
            (_, None) => {
                signer.set_confirmed_nonce(0);
                nonce_manager.clear_fee_cap(&signer);
                nonce_manager = NonceManager::default();
            }
            (None, Some(_)) => {}
        }
        tokio::select! {
            () = stop.requested() => return,
            changed = heads.changed() => if changed.is_err() { return },
        }
    }
}

#[derive(Debug, Default)]
pub struct NonceManager {
    waits: WaitingSince,
    /// The nonce whose fee is at the cap; it is logged once.
    capped_nonce: Option<u64>,
}

impl NonceManager {
    pub async fn on_head(
        &mut self,
        ctx: &Context,
        (signer, lease): (&SignerHandle, &SignerLease),
        head: &BlockHeader,
    ) -> Result<(), WorkError> {
        let open = attempts::open_of(&ctx.pool.get().await?, &lease.signer).await?;
        self.waits.keep(&open);
        for attempt in &open {
            self.waits.note(attempt.id, head.number);
        }
        let next = self.used(ctx, signer, head, &open).await?;
        signer.set_confirmed_nonce(next);
        // A used nonce waits for no block and needs no higher fee. Whether our transaction lost it is decided once the
        // nonce is final.
        let waiting = &open[open.partition_point(|attempt| waits_for_no_block(attempt, next))..];
        let late = self.any_late(waiting, head);
        let most = ctx.tuning.max_in_flight;
        signer.adjust_in_flight_limit(most, late);
        observe::in_flight_limit(&signer.address(), signer.in_flight_limit(most), most);
        let (Some(lowest), true) = (waiting.first(), late) else {
            self.clear_fee_cap(signer);
            return Ok(());
        };
        if !self
            .fill_gaps(ctx, (signer, lease), head, next..lowest.nonce)
            .await?
        {
            return Ok(());
        }
        self.raise(ctx, (signer, lease), head, waiting).await
    }

    /// The signer's count of mined transactions, read only when an attempt seems to have waited too long.
    async fn used(
        &self,
        ctx: &Context,
        signer: &SignerHandle,
        head: &BlockHeader,
        open: &[AttemptRow],
    ) -> Result<u64, WorkError> {
        if !self.any_late(open, head) {
            return Ok(0);
        }
        Ok(ctx
            .chain
            .nonce(&signer.address(), BlockRef::Hash(head.hash))
            .await?)
    }

    fn any_late(&self, open: &[AttemptRow], head: &BlockHeader) -> bool {
        open.iter()
            .any(|attempt| self.waits.is_late(attempt.id, head.number))
    }

    /// Fills nonces that a fork freed again, because everything above them would wait for ever. False when a gap would cost
    /// more than the fee cap, so that raising the fees above it is of no use.
    async fn fill_gaps(
        &mut self,
        ctx: &Context,
        (signer, lease): (&SignerHandle, &SignerLease),
        head: &BlockHeader,
        missing: std::ops::Range<u64>,
    ) -> Result<bool, WorkError> {
        let bounded = missing.start..missing.end.min(missing.start.saturating_add(MAX_GAPS_PER_HEAD));
        for nonce in bounded {
            let attempt = match replace::fill_gap(ctx, (signer, lease), head, nonce).await {
                Err(WorkError::FeeAboveCap(too_dear)) => {
                    self.cap(signer, nonce, &too_dear);
                    return Ok(false);
                }
                // The follower has not processed the fork yet, or just did.
                Ok(None) => return Ok(true),
                Ok(Some(filled)) => filled,
                Err(error) => return Err(error),
            };
            self.waits.note(attempt.id, head.number);
            send(ctx, &attempt).await;
        }
        Ok(true)
    }

    async fn raise(
        &mut self,
        ctx: &Context,
        (signer, lease): (&SignerHandle, &SignerLease),
        head: &BlockHeader,
        open: &[AttemptRow],
    ) -> Result<(), WorkError> {
        let since = |id| self.waits.since(id);
        let Some(stuck) = stuck(open, since, head.number, ctx.tuning.replace_after) else {
            self.clear_fee_cap(signer);
            return Ok(());
        };
        match replace::bump_fee(ctx, (signer, lease), head, stuck).await {
            Ok(Some(attempt)) => {
                self.waits.note(attempt.id, head.number);
                send(ctx, &attempt).await;
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(WorkError::FeeAboveCap(too_dear)) => {
                self.cap(signer, stuck.nonce, &too_dear);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Logs once per nonce, however many blocks pass.
    fn cap(&mut self, signer: &SignerHandle, nonce: u64, too_dear: &FeeAboveCap) {
        signer.set_waits_for_fees(FeeCapWait::LowestNonce, true);
        if self.capped_nonce.replace(nonce) != Some(nonce) {
            observe::stuck_at_cap(nonce, too_dear);
        }
    }

    fn clear_fee_cap(&mut self, signer: &SignerHandle) {
        signer.set_waits_for_fees(FeeCapWait::LowestNonce, false);
        self.capped_nonce = None;
    }
}

/// The last attempt of the lowest open nonce, once it has waited for `patience` blocks; all later nonces wait for it.
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

/// No block can take the attempt any more: the chain is past its nonce, whoever used it.
const fn waits_for_no_block(attempt: &AttemptRow, next: u64) -> bool {
    attempt.nonce < next
}

#[cfg(test)]
mod tests {
    use domain::command::{AttemptPurpose, Command};

    use super::*;

    fn attempt(id: i64, nonce: u64) -> AttemptRow {
        AttemptRow {
            id,
            signer: [1; 20],
            nonce,
            tx_hash: [0; 32],
            raw_transaction: Vec::new(),
            purpose: AttemptPurpose::Command(Command::Execute),
            block_number: None,
        }
    }

    #[test]
    fn only_the_last_attempt_of_the_lowest_nonce_is_stuck_and_only_after_enough_blocks() {
        let open = [attempt(1, 7), attempt(4, 7), attempt(2, 8)];
        let since = |id| Some(if id == 4 { 20 } else { 10 });
        let found = |head| stuck(&open, since, head, 5).map(|attempt| attempt.id);
        assert_eq!((found(24), found(25)), (None, Some(4)));
        assert!(stuck(&open, |_| None, 100, 5).is_none());
        assert!(stuck(&[], since, 100, 5).is_none());
    }
}
