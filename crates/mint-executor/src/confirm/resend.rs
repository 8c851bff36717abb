//! The same bytes again, for every attempt that missed a block: a send without a good answer is unknown, never failed.

use std::collections::HashMap;

use chain::TxHash;
use chain::transaction::recover;
use storage::executor::attempts::{self, AttemptRow};

use crate::context::{Context, WorkError};
use crate::observe;
use crate::submit::note_sent;

/// Attempts without a block, and the head at which each was last sent as far as we know.
#[derive(Debug, Default)]
pub struct Resender {
    sent: HashMap<i64, u64>,
    began: bool,
}

impl Resender {
    /// After a start: whatever lies in the rows may never have been sent.
    pub async fn first(&mut self, ctx: &Context, head: u64) -> Result<(), WorkError> {
        if self.began {
            Ok(())
        } else {
            self.run(ctx, head).await
        }
    }

    /// An attempt that should have a block by now, or of which we know nothing yet.
    pub fn is_overdue(&self, attempt: i64, block: u64) -> bool {
        !self.began || self.sent.get(&attempt).is_some_and(|at| block >= at + 2)
    }

    /// Once per head.
    pub async fn run(&mut self, ctx: &Context, head: u64) -> Result<(), WorkError> {
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
                Some(at) => head >= at + 2,
            };
            if due {
                again.push(attempt.id);
                send(ctx, attempt).await;
            }
            if due || !self.sent.contains_key(&attempt.id) {
                self.sent.insert(attempt.id, head);
            }
        }
        self.began = true;
        attempts::mark_broadcast(&ctx.pool.get().await?, &again).await?;
        Ok(())
    }
}

/// Only what our signer signed under this hash and nonce leaves the process.
async fn send(ctx: &Context, attempt: &AttemptRow) {
    let hash = TxHash::from_bytes(attempt.tx_hash);
    let genuine = recover(&attempt.raw).is_ok_and(|read| {
        read.signer == ctx.signer.address() && read.hash == hash && read.transaction.nonce == attempt.nonce
    });
    if !genuine {
        tracing::error!(
            attempt = attempt.id,
            "the stored bytes of an attempt are not what we signed"
        );
        observe::bytes_tampered();
        return;
    }
    let outcome = ctx.chain.send_raw(&attempt.raw, hash).await;
    note_sent(ctx, hash, &outcome);
}
