//! Ingests every block from the last one that we know to the head, without gaps, and rewinds after a fork.

use std::sync::Arc;
use std::time::Duration;

use chain::query::BlockHeader;
use chain::{ChainClient, ChainError};
use domain::clock::Clock;
use storage::Pool;
use storage::executor::blocks::{self, BlockRow};
use storage::executor::follower::FollowerLease;
use tokio::time::Instant;

use super::apply::Applier;
use super::events::block_row;
use super::gather::Gatherer;
use super::reorg::{Rewinder, missing_block};
use super::resend::Resender;
use crate::error::WorkError;
use crate::observe;
use crate::rules::poll_schedule::PollSchedule;
use crate::state::{ChainView, SignerHandles};

/// The position in the chain, which the rows hold too.
#[derive(Debug, Default)]
pub struct Position {
    tip: Option<BlockRow>,
    schedule: PollSchedule,
    last_block_at: Option<Instant>,
    /// The final block as of the last block ingested here.
    final_block: Option<u64>,
}

pub struct Follower {
    pub pool: Pool,
    pub chain: ChainClient,
    pub clock: Arc<dyn Clock>,
    pub view: ChainView,
    pub signers: SignerHandles,
    pub gatherer: Gatherer,
    pub applier: Applier,
    pub rewinder: Rewinder,
    pub resender: Resender,
    /// How many blocks below the head an empty database starts.
    pub start_depth: u64,
    pub position: Position,
}

impl Follower {
    /// Ingests every block up to the head.
    pub async fn poll(&mut self, lease: &FollowerLease) -> Result<(), WorkError> {
        let asked = Instant::now();
        let head = self.chain.latest_header().await?;
        self.view.record_answer(&head, asked);
        let tip = self.tip().await?;
        if tip.is_some_and(|tip| tip.number >= head.number) {
            return self.same_height(lease, tip, &head).await;
        }
        self.record_block();
        if tip.is_none_or(|tip| tip.number + 1 < head.number) {
            // No batch is built while the follower catches up.
            self.view.forget_head();
        }
        let mut tip = tip;
        let mut next = tip.map_or_else(
            || head.number.saturating_sub(self.start_depth),
            |tip| tip.number + 1,
        );
        while next <= head.number {
            let header = if next == head.number {
                head
            } else {
                known_to_node(self.chain.header(next).await?, &head, next)?
            };
            if is_fork(tip.as_ref(), &header) {
                self.rewind(lease).await?;
                // Our head may belong to the abandoned fork, so the next poll reads it again.
                return Ok(());
            }
            self.ingest(lease, &header, next == head.number).await?;
            tip = self.position.tip;
            next += 1;
        }
        self.resender.run(&head).await
    }

    /// How long to wait before the next poll.
    pub fn wait(&self, sparse: Duration) -> Duration {
        let since = self
            .position
            .last_block_at
            .map(|at| at.elapsed())
            .unwrap_or_default();
        self.position.schedule.wait(since, sparse)
    }

    /// After a failure half-way the rows are right and this copy may not be.
    pub fn reset(&mut self) {
        self.position.tip = None;
    }

    /// Another executor follows the chain now: what is known of it ends here.
    pub fn restart(&mut self) {
        self.position = Position::default();
        self.resender.restart();
    }

    async fn tip(&mut self) -> Result<Option<BlockRow>, WorkError> {
        if self.position.tip.is_none() {
            let client = self.pool.get().await?;
            self.position.tip = blocks::recent(&client, 1).await?.pop();
        }
        Ok(self.position.tip)
    }

    async fn same_height(
        &mut self,
        lease: &FollowerLease,
        tip: Option<BlockRow>,
        head: &BlockHeader,
    ) -> Result<(), WorkError> {
        let Some(tip) = tip else { return Ok(()) };
        let forked = if tip.number == head.number {
            tip.hash != *head.hash.as_bytes()
        } else {
            // The endpoint lags, or follows a shorter fork: our block of that height decides.
            self.rewinder.head_differs(head).await?
        };
        if forked {
            self.rewind(lease).await?;
            return Ok(());
        }
        // No batch is built on an older block, whose state lacks what our rows contain.
        if tip.number == head.number && self.view.head().is_none() {
            self.view.set_head(*head);
            self.signers.wake();
        }
        self.resender.first(head).await
    }

    /// Rewinds to the last common block, and broadcasts the fork's transactions again at once.
    async fn rewind(&mut self, lease: &FollowerLease) -> Result<(), WorkError> {
        // No batch is built on an abandoned block, whose state a simulation may have relied on.
        self.view.forget_head();
        let ancestor = self.rewinder.follow(lease, self.position.final_block).await?;
        self.position.tip = Some(ancestor);
        self.resender.restart();
        Ok(())
    }

    async fn ingest(
        &mut self,
        lease: &FollowerLease,
        header: &BlockHeader,
        at_head: bool,
    ) -> Result<(), WorkError> {
        let facts = self.gatherer.gather(header, &self.resender, at_head).await?;
        self.position.final_block = facts.final_block;
        self.applier.apply(lease, facts).await?;
        self.position.tip = Some(block_row(header));
        if at_head {
            self.view.set_head(*header);
        }
        self.signers.wake();
        let now = self.clock.now().unix_timestamp_nanos() / 1_000_000;
        let behind = now - i128::from(header.timestamp) * 1000;
        let millis = i32::try_from(behind.clamp(0, i128::from(i32::MAX))).unwrap_or(i32::MAX);
        observe::block_ingested(header, f64::from(millis) / 1000.0);
        Ok(())
    }

    fn record_block(&mut self) {
        let now = Instant::now();
        if let Some(last) = self.position.last_block_at {
            self.position.schedule.record_interval(now - last);
        }
        self.position.last_block_at = Some(now);
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
