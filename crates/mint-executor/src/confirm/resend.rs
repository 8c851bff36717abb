//! Broadcasts the stored bytes again, for every attempt of every signer that is not mined two blocks after it was first
//! seen: a send without a good answer is unknown, never failed. This needs no key, so transactions of a lost or retired
//! key complete too.

use std::collections::HashMap;
use std::time::Duration;

use chain::TxHash;
use chain::query::BlockHeader;
use storage::executor::attempts::{self, AttemptRow};
use tokio::task::{AbortHandle, JoinSet};

use super::replace;
use crate::context::{Context, WorkError};
use crate::submit::record_send;

/// A transaction sent just before a block may miss it, so it counts as late after the next one.
const LATE_AFTER_BLOCKS: u64 = 2;
/// The follower waits at most this long for answers: a node that accepts nothing must not delay the next block.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The head at which each open attempt was first seen waiting.
#[derive(Debug, Default)]
pub struct WaitingSince(HashMap<i64, u64>);

impl WaitingSince {
    /// Forgets attempts that are no longer open.
    pub fn keep(&mut self, open: &[AttemptRow]) {
        self.0
            .retain(|id, _| open.iter().any(|attempt| attempt.id == *id));
    }

    /// Records this head, unless an earlier one is known; returns the head since which the attempt waits.
    pub fn note(&mut self, attempt: i64, head: u64) -> u64 {
        *self.0.entry(attempt).or_insert(head)
    }

    pub fn since(&self, attempt: i64) -> Option<u64> {
        self.0.get(&attempt).copied()
    }

    /// Whether it should have been mined by now.
    pub fn is_late(&self, attempt: i64, head: u64) -> bool {
        self.since(attempt)
            .is_some_and(|since| head >= since + LATE_AFTER_BLOCKS)
    }
}

/// The attempts that are not mined, and their running sends.
#[derive(Debug, Default)]
pub struct Resender {
    waits: WaitingSince,
    started: bool,
    /// Each task returns the id of its attempt if the bytes were sent.
    sending: JoinSet<Option<i64>>,
    sends: HashMap<i64, AbortHandle>,
}

impl Resender {
    /// After a start: any stored attempt may never have been sent.
    pub async fn first(&mut self, ctx: &Context, head: &BlockHeader) -> Result<(), WorkError> {
        if self.started {
            Ok(())
        } else {
            self.run(ctx, head).await
        }
    }

    /// Whether the attempt should have been mined by now, or nothing is known of it yet.
    pub fn is_overdue(&self, attempt: i64, block: u64) -> bool {
        !self.started || self.waits.is_late(attempt, block)
    }

    /// Runs once per head; an attempt is not sent again while its last send is unanswered.
    pub async fn run(&mut self, ctx: &Context, head: &BlockHeader) -> Result<(), WorkError> {
        let client = ctx.pool.get().await?;
        let open = attempts::open(&client).await?;
        drop(client);
        self.waits.keep(&open);
        for attempt in &open {
            // The submitter has just sent a new attempt, unless this process has just started.
            let due = !self.started || self.waits.is_late(attempt.id, head.number);
            self.waits.note(attempt.id, head.number);
            if due {
                self.begin(ctx, attempt);
            }
        }
        self.started = true;
        // Unanswered sends continue in their tasks until their calls time out.
        let mut sent = Vec::new();
        let _ = tokio::time::timeout(ANSWER_TIMEOUT, self.collect_sent(&mut sent)).await;
        attempts::mark_broadcast(&ctx.pool.get().await?, &sent).await?;
        Ok(())
    }

    fn begin(&mut self, ctx: &Context, attempt: &AttemptRow) {
        self.sends.retain(|_, sending| !sending.is_finished());
        let (ctx, of) = (ctx.clone(), attempt.clone());
        self.sends.entry(attempt.id).or_insert_with(|| {
            self.sending
                .spawn(async move { send(&ctx, &of).await.then_some(of.id) })
        });
    }

    async fn collect_sent(&mut self, sent: &mut Vec<i64>) {
        while let Some(ended) = self.sending.join_next().await {
            sent.extend(ended.ok().flatten());
        }
    }
}

/// The stored bytes are what the attempt's signer signed, with its hash and its nonce.
fn is_genuine(attempt: &AttemptRow) -> bool {
    replace::verify_stored(attempt).is_some()
}

/// Sends only bytes that the attempt's signer signed with this hash and nonce; false for any others.
pub async fn send(ctx: &Context, attempt: &AttemptRow) -> bool {
    if !is_genuine(attempt) {
        return false;
    }
    let hash = TxHash::from_bytes(attempt.tx_hash);
    let outcome = ctx
        .chain
        .send_to_all_endpoints(&attempt.raw_transaction, hash)
        .await;
    record_send(ctx, &attempt.signer, hash, &outcome);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_is_late_once_it_missed_a_block_and_stays_late_in_each_that_follows() {
        let mut waits = WaitingSince::default();
        assert!(!waits.is_late(1, 9), "nothing is known");
        assert_eq!(waits.note(1, 10), 10);
        assert_eq!(waits.note(1, 12), 10, "it waits since it was first seen");
        let late = [10, 11, 12, 13, 14].map(|head| waits.is_late(1, head));
        assert_eq!(late, [false, false, true, true, true]);
        waits.keep(&[]);
        assert_eq!(waits.since(1), None);
    }
}
