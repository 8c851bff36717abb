//! Keys of a process that does not take in the blocks itself: they build on the block that the follower took in last,
//! once our own node has it too.

use chain::watch::Header;
use storage::executor::blocks;
use tokio::time::Instant;

use crate::context::{Context, Seen, WorkError};

/// Shows the follower's last block to the keys, or that somebody catches up.
pub async fn look(ctx: &Context) -> Result<(), WorkError> {
    let asked = Instant::now();
    let newest = ctx.chain.latest_header().await?;
    ctx.seen.send_replace(Some(Seen {
        at: Instant::now(),
        latency: asked.elapsed(),
        head: newest.number,
    }));
    let tip = blocks::recent(&ctx.pool.get().await?, 1).await?.pop();
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

fn hash(header: Option<Header>) -> Option<chain::BlockHash> {
    header.map(|header| header.hash)
}
