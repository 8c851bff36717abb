//! For a process that does not hold the follower's lease: its signers build on the block that the follower ingested last,
//! once our own node has it too.

use chain::ChainClient;
use storage::Pool;
use storage::executor::{attempts, blocks, legs};
use tokio::time::Instant;

use crate::error::WorkError;
use crate::state::{ChainView, Gates, Refusal, SignerHandles};

pub struct HeadWatcher {
    pub pool: Pool,
    pub chain: ChainClient,
    pub view: ChainView,
    pub gates: Gates,
    pub signers: SignerHandles,
    /// The last block whose refusals of our signers are read.
    pub refusals_read_to: Option<u64>,
}

impl HeadWatcher {
    /// Refusals of blocks that this process takes in itself are not read from the rows.
    pub fn restart(&mut self) {
        self.refusals_read_to = None;
    }

    /// Publishes the follower's last block to the signers, or that the follower catches up.
    pub async fn poll(&mut self) -> Result<(), WorkError> {
        let asked = Instant::now();
        let newest = self.chain.latest_header().await?;
        self.view.record_answer(&newest, asked);
        let tip = blocks::recent(&self.pool.get().await?, 1).await?.pop();
        if let Some(tip) = tip {
            self.read_refusals(tip.number).await?;
        }
        let head = match tip {
            Some(tip) if tip.number == newest.number => Some(newest),
            Some(tip) if tip.number + 1 == newest.number => self.chain.header(tip.number).await?,
            _ => None,
        };
        let head = head.filter(|head| tip.is_some_and(|tip| tip.hash == *head.hash.as_bytes()));
        if self.view.change_head(head) && head.is_some() {
            self.signers.wake();
        }
        Ok(())
    }

    /// Trips our breakers for what the chain refused our signers. The follower updates the items, but its breakers are in its
    /// own process, so items that are ready again would be signed again with each block.
    async fn read_refusals(&mut self, tip: u64) -> Result<(), WorkError> {
        // The first read covers the last block only: a cause that persists refuses again.
        let after = self.refusals_read_to.unwrap_or(tip.saturating_sub(1));
        if after != tip {
            let client = self.pool.get().await?;
            for refusal in attempts::refusals(&client, &self.signers.addresses(), after).await? {
                let leg = legs::read(&client, &[refusal.intent_id]).await?.pop();
                let amount = leg.and_then(|leg| leg.preimage).map_or(1, |p| p.amount.get());
                self.gates.trip(&Refusal {
                    signer: refusal.signer,
                    command: refusal.command,
                    cause: refusal.cause,
                    amount,
                });
            }
        }
        self.refusals_read_to = Some(tip);
        Ok(())
    }
}
