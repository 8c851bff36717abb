//! Keeps the nonces of a signer moving while its lease is held, once per head: fills gaps, and replaces the attempt of
//! the lowest nonce at a higher fee when it waits too long.

use std::sync::Arc;

use chain::fees::FeeAboveCap;
use chain::query::BlockHeader;
use chain::{BlockRef, ChainClient};
use runtime::Stop;
use storage::Pool;
use storage::executor::attempts::{self, AttemptRow};
use storage::executor::signers::SignerLease;

use super::replace::Replacer;
use crate::attempts::Broadcaster;
use crate::error::WorkError;
use crate::observe;
use crate::rules::lateness::WaitingSince;
use crate::state::{ChainView, FeeCapWait, SignerHandle};

/// Maximum number of missing nonces filled per head.
const MAX_GAPS_PER_HEAD: u64 = 16;

/// Manages the nonces of one signer.
pub struct NonceManager {
    pub pool: Pool,
    pub chain: ChainClient,
    pub signer: Arc<SignerHandle>,
    pub replacer: Replacer,
    pub broadcaster: Broadcaster,
    pub max_in_flight: u64,
    pub replace_after: u64,
    pub waits: WaitingSince,
    /// The nonce whose fee is at the cap; it is logged once.
    pub capped_nonce: Option<u64>,
}

impl NonceManager {
    /// Until the stop, while the signer's lease is held.
    pub async fn run(mut self, view: ChainView, stop: Stop) {
        let mut heads = view.heads();
        loop {
            let head = *heads.borrow_and_update();
            match (head, self.signer.current_lease()) {
                (Some(head), Some(lease)) => {
                    if let Err(error) = self.on_head(&lease, &head).await {
                        observe::round_failed("nonces", &error);
                        if matches!(error, WorkError::NoLease) {
                            self.signer.drop_lease_if(&lease);
                        }
                    }
                }
                (_, None) => self.restart(),
                (None, Some(_)) => {}
            }
            tokio::select! {
                () = stop.requested() => return,
                changed = heads.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Another executor holds the lease: what is known of the attempts ends with it.
    fn restart(&mut self) {
        self.signer.set_confirmed_nonce(0);
        self.clear_fee_cap();
        self.waits = WaitingSince::default();
    }

    pub async fn on_head(&mut self, lease: &SignerLease, head: &BlockHeader) -> Result<(), WorkError> {
        let open = attempts::open_of(&self.pool.get().await?, &lease.signer).await?;
        self.waits.keep(&open);
        for attempt in &open {
            self.waits.note(attempt.id, head.number);
        }
        let next = self.used(head, &open).await?;
        self.signer.set_confirmed_nonce(next);
        // A used nonce waits for no block and needs no higher fee. Whether our transaction lost it is decided once the
        // nonce is final.
        let waiting = &open[open.partition_point(|attempt| waits_for_no_block(attempt, next))..];
        let late = self.waits.any_late(waiting, head.number);
        let most = self.max_in_flight;
        self.signer.adjust_in_flight_limit(most, late);
        observe::in_flight_limit(&self.signer.address(), self.signer.in_flight_limit(most), most);
        let (Some(lowest), true) = (waiting.first(), late) else {
            self.clear_fee_cap();
            return Ok(());
        };
        if !self.fill_gaps(lease, head, next..lowest.nonce).await? {
            return Ok(());
        }
        self.raise(lease, head, waiting).await
    }

    /// The signer's count of mined transactions, read only when an attempt seems to have waited too long.
    async fn used(&self, head: &BlockHeader, open: &[AttemptRow]) -> Result<u64, WorkError> {
        if !self.waits.any_late(open, head.number) {
            return Ok(0);
        }
        let at = BlockRef::Hash(head.hash);
        Ok(self.chain.nonce(&self.signer.address(), at).await?)
    }

    /// Fills nonces that a fork freed again, because everything above them would wait for ever. False when a gap would cost
    /// more than the fee cap, so that raising the fees above it is of no use.
    async fn fill_gaps(
        &mut self,
        lease: &SignerLease,
        head: &BlockHeader,
        missing: std::ops::Range<u64>,
    ) -> Result<bool, WorkError> {
        let bounded = missing.start..missing.end.min(missing.start.saturating_add(MAX_GAPS_PER_HEAD));
        for nonce in bounded {
            let attempt = match self.replacer.fill_gap(lease, head, nonce).await {
                Err(WorkError::FeeAboveCap(above_cap)) => {
                    self.cap(nonce, &above_cap);
                    return Ok(false);
                }
                // The follower has not processed the fork yet, or just did.
                Ok(None) => return Ok(true),
                Ok(Some(filled)) => filled,
                Err(error) => return Err(error),
            };
            self.waits.note(attempt.id, head.number);
            self.broadcaster.send_stored(&attempt).await;
        }
        Ok(true)
    }

    async fn raise(
        &mut self,
        lease: &SignerLease,
        head: &BlockHeader,
        open: &[AttemptRow],
    ) -> Result<(), WorkError> {
        let since = |id| self.waits.since(id);
        let Some(stuck) = stuck(open, since, head.number, self.replace_after) else {
            self.clear_fee_cap();
            return Ok(());
        };
        match self.replacer.bump_fee(lease, head, stuck).await {
            Ok(Some(attempt)) => {
                self.waits.note(attempt.id, head.number);
                self.broadcaster.send_stored(&attempt).await;
                Ok(())
            }
            Ok(None) => Ok(()),
            Err(WorkError::FeeAboveCap(above_cap)) => {
                self.cap(stuck.nonce, &above_cap);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Logs once per nonce, however many blocks pass.
    fn cap(&mut self, nonce: u64, above_cap: &FeeAboveCap) {
        self.signer.set_waits_for_fees(FeeCapWait::LowestNonce, true);
        if self.capped_nonce.replace(nonce) != Some(nonce) {
            observe::stuck_at_cap(nonce, above_cap);
        }
    }

    fn clear_fee_cap(&mut self) {
        self.signer.set_waits_for_fees(FeeCapWait::LowestNonce, false);
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
