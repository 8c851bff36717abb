//! Ingests every block from the last one that we know to the head, without gaps, and rewinds after a fork.

use std::time::Duration;

use chain::ChainError;
use chain::query::BlockHeader;
use storage::executor::blocks::{self, BlockRow};
use storage::executor::follower::FollowerLease;
use tokio::time::Instant;

use super::resend::Resender;
use super::{apply, gather, reorg};
use crate::context::{Context, NodeAnswer, WorkError};
use crate::observe;
use crate::rules::poll_schedule::PollSchedule;

/// The position in the chain, which the rows hold too.
#[derive(Debug, Default)]
pub struct Follower {
    tip: Option<BlockRow>,
    schedule: PollSchedule,
    resender: Resender,
    last_block_at: Option<Instant>,
    /// The final block as of the last block ingested here.
    final_block: Option<u64>,
}

impl Follower {
    /// Ingests every block up to the head.
    pub async fn poll(&mut self, ctx: &Context, lease: &FollowerLease) -> Result<(), WorkError> {
        let asked = Instant::now();
        let head = ctx.chain.latest_header().await?;
        ctx.node_answer.send_replace(Some(NodeAnswer {
            at: Instant::now(),
            latency: asked.elapsed(),
            head: head.number,
        }));
        let tip = self.tip(ctx).await?;
        if tip.is_some_and(|tip| tip.number >= head.number) {
            return self.same_height(ctx, lease, tip, &head).await;
        }
        self.record_block();
        if tip.is_none_or(|tip| tip.number + 1 < head.number) {
            // No batch is built while the follower catches up.
            ctx.head.send_replace(None);
        }
        let mut tip = tip;
        let mut next = tip.map_or_else(|| first_block(ctx, head.number), |tip| tip.number + 1);
        while next <= head.number {
            let header = if next == head.number {
                head
            } else {
                known_to_node(ctx.chain.header(next).await?, &head, next)?
            };
            if is_fork(tip.as_ref(), &header) {
                self.rewind(ctx, lease).await?;
                // Our head may belong to the abandoned fork, so the next poll reads it again.
                return Ok(());
            }
            self.ingest(ctx, lease, &header, next == head.number).await?;
            tip = self.tip;
            next += 1;
        }
        self.resender.run(ctx, &head).await
    }

    /// How long to wait before the next poll.
    pub fn wait(&self, sparse: Duration) -> Duration {
        let since = self.last_block_at.map(|at| at.elapsed()).unwrap_or_default();
        self.schedule.wait(since, sparse)
    }

    /// After a failure half-way the rows are right and this copy may not be.
    pub fn reset(&mut self) {
        self.tip = None;
    }

    async fn tip(&mut self, ctx: &Context) -> Result<Option<BlockRow>, WorkError> {
        if self.tip.is_none() {
            let client = ctx.pool.get().await?;
            self.tip = blocks::recent(&client, 1).await?.pop();
        }
        Ok(self.tip)
    }

    async fn same_height(
        &mut self,
        ctx: &Context,
        lease: &FollowerLease,
        tip: Option<BlockRow>,
        head: &BlockHeader,
    ) -> Result<(), WorkError> {
        let Some(tip) = tip else { return Ok(()) };
        let forked = if tip.number == head.number {
            tip.hash != *head.hash.as_bytes()
        } else {
            // The endpoint lags, or follows a shorter fork: our block of that height decides.
            reorg::head_differs(ctx, head).await?
        };
        if forked {
            self.rewind(ctx, lease).await?;
            return Ok(());
        }
        // No batch is built on an older block, whose state lacks what our rows contain.
        if tip.number == head.number && ctx.head.borrow().is_none() {
            ctx.head.send_replace(Some(*head));
            ctx.wake();
        }
        self.resender.first(ctx, head).await
    }

    /// Rewinds to the last common block, and broadcasts the fork's transactions again at once.
    async fn rewind(&mut self, ctx: &Context, lease: &FollowerLease) -> Result<(), WorkError> {
        // No batch is built on an abandoned block, whose state a simulation may have relied on.
        ctx.forget_head();
        self.tip = Some(reorg::follow(ctx, lease, self.final_block).await?);
        self.resender = Resender::default();
        Ok(())
    }

    async fn ingest(
        &mut self,
        ctx: &Context,
        lease: &FollowerLease,
        header: &BlockHeader,
        at_head: bool,
    ) -> Result<(), WorkError> {
        let facts = gather::gather(ctx, header, (&self.resender, at_head)).await?;
        self.final_block = facts.final_block;
        apply::apply(ctx, lease, facts).await?;
        self.tip = Some(block_row(header));
        if at_head {
            ctx.head.send_replace(Some(*header));
        }
        ctx.relay.notify();
        ctx.wake();
        let now = ctx.clock.now().unix_timestamp_nanos() / 1_000_000;
        let behind = now - i128::from(header.timestamp) * 1000;
        let millis = i32::try_from(behind.clamp(0, i128::from(i32::MAX))).unwrap_or(i32::MAX);
        observe::block_ingested(header, f64::from(millis) / 1000.0);
        Ok(())
    }

    fn record_block(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.last_block_at {
            self.schedule.record_interval(now - last);
        }
        self.last_block_at = Some(now);
    }
}

/// The block does not follow the last ingested one.
fn is_fork(tip: Option<&BlockRow>, header: &BlockHeader) -> bool {
    tip.is_some_and(|tip| tip.hash != *header.parent.as_bytes())
}

/// A block below the head that the node does not know is an error that names it, not one to be waited for.
fn known_to_node(
    header: Option<BlockHeader>,
    head: &BlockHeader,
    number: u64,
) -> Result<BlockHeader, ChainError> {
    header.ok_or_else(|| missing_block(head, number))
}

/// The address hides several nodes, or the node lost some of its blocks.
pub(super) fn missing_block(head: &BlockHeader, number: u64) -> ChainError {
    ChainError::Unavailable(format!(
        "the node's head is block {}, and it knows no block {number}",
        head.number
    ))
}

pub fn block_row(header: &BlockHeader) -> BlockRow {
    BlockRow {
        number: header.number,
        hash: *header.hash.as_bytes(),
        parent: *header.parent.as_bytes(),
    }
}

/// The first block on an empty database: low enough to include all that can still be reorganised.
fn first_block(ctx: &Context, head: u64) -> u64 {
    head.saturating_sub(ctx.policy.chain.confirmations + ctx.policy.chain.watch_blocks_past_final)
}
