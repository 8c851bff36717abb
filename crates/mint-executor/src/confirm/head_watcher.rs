//! For a process that does not hold the follower's lease: its signers build on the block that the follower ingested last,
//! once our own node has it too.

use chain::query::BlockHeader;
use storage::executor::{attempts, blocks, legs};
use tokio::time::Instant;

use crate::context::{Context, NodeAnswer, WorkError};

#[derive(Debug, Default)]
pub struct HeadWatcher {
    /// The last block whose refusals of our signers are read.
    refusals_read_to: Option<u64>,
}

impl HeadWatcher {
    /// Publishes the follower's last block to the signers, or that the follower catches up.
    pub async fn poll(&mut self, ctx: &Context) -> Result<(), WorkError> {
        let asked = Instant::now();
        let newest = ctx.chain.latest_header().await?;
        ctx.node_answer.send_replace(Some(NodeAnswer {
            at: Instant::now(),
            latency: asked.elapsed(),
            head: newest.number,
        }));
        let tip = blocks::recent(&ctx.pool.get().await?, 1).await?.pop();
        if let Some(tip) = tip {
            self.read_refusals(ctx, tip.number).await?;
        }
        let head = match tip {
            Some(tip) if tip.number == newest.number => Some(newest),
            Some(tip) if tip.number + 1 == newest.number => ctx.chain.header(tip.number).await?,
            _ => None,
        };
        let head = head.filter(|head| tip.is_some_and(|tip| tip.hash == *head.hash.as_bytes()));
        let news = ctx.head.send_if_modified(|known| {
            let changed = hash(*known) != hash(head);
            *known = head;
            changed
        });
        if news && head.is_some() {
            ctx.wake();
        }
        Ok(())
    }

    /// Trips our breakers for what the chain refused our signers. The follower updates the items, but its breakers are in its
    /// own process, so items that are ready again would be signed again with each block.
    async fn read_refusals(&mut self, ctx: &Context, tip: u64) -> Result<(), WorkError> {
        // The first read covers the last block only: a cause that persists refuses again.
        let after = self.refusals_read_to.unwrap_or(tip.saturating_sub(1));
        if after != tip {
            let our_signers: Vec<[u8; 20]> =
                ctx.signers.iter().map(|signer| signer.address_bytes()).collect();
            let client = ctx.pool.get().await?;
            for refusal in attempts::refusals(&client, &our_signers, after).await? {
                let leg = legs::read(&client, &[refusal.intent_id]).await?.pop();
                let amount = leg.and_then(|leg| leg.preimage).map_or(1, |p| p.amount.get());
                ctx.trip_breaker(&refusal.signer, (refusal.command, refusal.cause, amount));
            }
        }
        self.refusals_read_to = Some(tip);
        Ok(())
    }
}

fn hash(header: Option<BlockHeader>) -> Option<chain::BlockHash> {
    header.map(|header| header.hash)
}
