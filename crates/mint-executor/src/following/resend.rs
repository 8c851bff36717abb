//! Broadcasts the stored bytes again, for every attempt of every signer that is not mined two blocks after it was first
//! seen: a send without a good answer is unknown, never failed. This needs no key, so transactions of a lost or retired
//! key complete too.

use std::collections::HashMap;
use std::time::Duration;

use chain::query::BlockHeader;
use storage::Pool;
use storage::executor::attempts::{self, AttemptRow};
use tokio::task::{AbortHandle, JoinSet};

use crate::attempts::Broadcaster;
use crate::error::WorkError;
use crate::rules::lateness::WaitingSince;

/// The follower waits at most this long for answers: a node that accepts nothing must not delay the next block.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The attempts that are not mined, and their running sends.
pub struct Resender {
    pub pool: Pool,
    pub broadcaster: Broadcaster,
    pub sends: Sends,
}

#[derive(Debug, Default)]
pub struct Sends {
    waits: WaitingSince,
    started: bool,
    /// Each task returns the id of its attempt if the bytes were sent.
    sending: JoinSet<Option<i64>>,
    by_attempt: HashMap<i64, AbortHandle>,
}

impl Resender {
    /// Forgets what is known, as at a start; running sends end.
    pub fn restart(&mut self) {
        self.sends = Sends::default();
    }

    /// After a start: any stored attempt may never have been sent.
    pub async fn first(&mut self, head: &BlockHeader) -> Result<(), WorkError> {
        if self.sends.started {
            Ok(())
        } else {
            self.run(head).await
        }
    }

    /// Whether the attempt should have been mined by now, or nothing is known of it yet.
    pub fn is_overdue(&self, attempt: i64, block: u64) -> bool {
        !self.sends.started || self.sends.waits.is_late(attempt, block)
    }

    /// Runs once per head; an attempt is not sent again while its last send is unanswered.
    pub async fn run(&mut self, head: &BlockHeader) -> Result<(), WorkError> {
        let client = self.pool.get().await?;
        let open = attempts::open(&client).await?;
        drop(client);
        self.sends.waits.keep(&open);
        for attempt in &open {
            // The submitter has just sent a new attempt, unless this process has just started.
            let due = !self.sends.started || self.sends.waits.is_late(attempt.id, head.number);
            self.sends.waits.note(attempt.id, head.number);
            if due {
                self.begin(attempt);
            }
        }
        self.sends.started = true;
        // Unanswered sends continue in their tasks until their calls time out.
        let mut sent = Vec::new();
        let _ = tokio::time::timeout(ANSWER_TIMEOUT, self.collect_sent(&mut sent)).await;
        attempts::mark_broadcast(&self.pool.get().await?, &sent).await?;
        Ok(())
    }

    fn begin(&mut self, attempt: &AttemptRow) {
        self.sends.by_attempt.retain(|_, sending| !sending.is_finished());
        let (broadcaster, of) = (self.broadcaster.clone(), attempt.clone());
        let sending = &mut self.sends.sending;
        self.sends.by_attempt.entry(attempt.id).or_insert_with(|| {
            sending.spawn(async move { broadcaster.send_stored(&of).await.then_some(of.id) })
        });
    }

    async fn collect_sent(&mut self, sent: &mut Vec<i64>) {
        while let Some(ended) = self.sends.sending.join_next().await {
            sent.extend(ended.ok().flatten());
        }
    }
}
