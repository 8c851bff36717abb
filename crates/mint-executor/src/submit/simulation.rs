//! Simulates a batch with a node, at the block that we build on, before anything is signed: one request for a whole batch,
//! so that an item the chain would refuse costs no gas. The simulation is optional: without an answer the batch is sent
//! as it is.

use std::collections::HashMap;
use std::time::Duration;

use chain::query::BlockHeader;
use chain::{BlockHash, BlockRef, ChainClient, ChainError};
use domain::command::Command;
use domain::ids::{IntentId, MessageId};
use domain::item_result::ItemResult;
use storage::executor::blocks;
use storage::executor::signers::SignerLease;
use tokio::time::timeout;

use super::draft::{calldata, find_ready};
use super::plan::{self, BatchPlan};
use crate::context::{Context, WorkError};
use crate::finality::final_block;
use crate::observe;
use crate::rules::batching;
use crate::rules::next_step::{ItemFacts, OnChainRecord};
use crate::rules::simulation::{FinalBlockResult, SimulationResult, is_permanent, simulation_result};
use crate::signer_handle::SignerHandle;

/// Work waits at most this long for a simulation.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The simulated results of the items of a batch; `None` if the simulation was skipped.
#[derive(Debug)]
pub struct Simulation(Option<HashMap<MessageId, SimulationResult>>);

impl Simulation {
    /// No simulation: the batch is sent as it is, and the chain decides.
    pub const fn skipped() -> Self {
        Self(None)
    }

    /// `None` for an item that was not simulated.
    pub fn result_for(&self, item: MessageId) -> Option<SimulationResult> {
        match &self.0 {
            None => Some(SimulationResult::Send),
            Some(results) => results.get(&item).copied(),
        }
    }
}

/// Plans the next batch without locks and simulates it; `None` when no item is ready.
pub async fn simulate(
    ctx: &Context,
    (signer, lease): (&SignerHandle, &SignerLease),
    command: Command,
    head: &BlockHeader,
) -> Result<Option<Simulation>, WorkError> {
    let Some(plan) = plan_ready(ctx, (signer, lease), command, head).await? else {
        return Ok(None);
    };
    if plan.members.is_empty() {
        return Ok(Some(Simulation(Some(HashMap::new()))));
    }
    let asked = SimulatedBatch {
        chain: &ctx.chain,
        signer,
        command,
        members: plan.members,
    };
    let simulation = match timeout(TIMEOUT, asked.results(ctx, head)).await {
        Ok(Ok(results)) => {
            observe::batch_simulated(command, results.values());
            Simulation(Some(results))
        }
        Ok(Err(error)) if error.is_of_an_endpoint() => {
            observe::batch_not_simulated(command, &error);
            Simulation::skipped()
        }
        Ok(Err(error)) => return Err(error),
        Err(late) => {
            observe::batch_not_simulated(command, &late);
            Simulation::skipped()
        }
    };
    Ok(Some(simulation))
}

/// Plans without locks; `build` sees later changes under locks.
async fn plan_ready(
    ctx: &Context,
    (signer, lease): (&SignerHandle, &SignerLease),
    command: Command,
    head: &BlockHeader,
) -> Result<Option<BatchPlan>, WorkError> {
    let client = ctx.pool.get().await?;
    // Without ready items no request is sent.
    let Some(mut found) = find_ready(ctx, &client, (signer, lease), (command, head)).await? else {
        return Ok(None);
    };
    let legs = (&mut *found.legs, &found.constraints);
    let skipped = Simulation::skipped();
    Ok(Some(plan::plan_batch(
        ctx,
        (command, &found.items),
        legs,
        &skipped,
    )?))
}

/// A batch to simulate. Every request names its block by hash, so answers of different endpoints fit together.
struct SimulatedBatch<'a> {
    chain: &'a ChainClient,
    signer: &'a SignerHandle,
    command: Command,
    members: Vec<plan::BatchMember>,
}

/// The very block that the work is planned on: a node that lags does not answer for it.
const fn state_of(head: &BlockHeader) -> BlockRef {
    BlockRef::Hash(head.hash)
}

impl SimulatedBatch<'_> {
    async fn results(
        &self,
        ctx: &Context,
        head: &BlockHeader,
    ) -> Result<HashMap<MessageId, SimulationResult>, WorkError> {
        let all: Vec<&plan::BatchMember> = self.members.iter().collect();
        let results = self.item_results(&all, state_of(head)).await?;
        let batch = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let facts = |result| ItemFacts {
            command: self.command,
            result,
            record: OnChainRecord::NotRead,
            batch_size: batch,
        };
        let permanent: Vec<&plan::BatchMember> = all
            .iter()
            .zip(&results)
            .filter(|(_, result)| is_permanent(facts(**result)))
            .map(|(member, _)| *member)
            .collect();
        let at_final = self.at_final(ctx, head, &permanent).await?;
        let advice = all.iter().zip(results).map(|((id, _), result)| {
            let said = simulation_result(facts(result), at_final.get(id).copied());
            (*id, said)
        });
        Ok(advice.collect())
    }

    async fn item_results(
        &self,
        members: &[&plan::BatchMember],
        at: BlockRef,
    ) -> Result<Vec<ItemResult>, ChainError> {
        let Some(data) = calldata(members.iter().map(|(_, member)| member)) else {
            return Ok(Vec::new());
        };
        let gas_limit = batching::gas_limit(self.command, members.len());
        let signer = self.signer.address();
        let simulated = self
            .chain
            .simulate_batch(&signer, data, gas_limit, members.len(), at);
        match simulated.await {
            Ok(outcomes) => Ok(outcomes.into_iter().map(ItemResult::Reported).collect()),
            // The signer lacks its role, or an item makes the whole call revert.
            Err(ChainError::Reverted(_)) => {
                let may = self.chain.may_execute(&signer, at).await?;
                let result = if may {
                    ItemResult::Reverted
                } else {
                    ItemResult::Unauthorized
                };
                Ok(vec![result; members.len()])
            }
            Err(error) => Err(error),
        }
    }

    /// The results at a final block of the items that the head would refuse permanently; empty if the node dropped the
    /// block's state.
    async fn at_final(
        &self,
        ctx: &Context,
        head: &BlockHeader,
        permanent: &[&plan::BatchMember],
    ) -> Result<HashMap<MessageId, FinalBlockResult>, WorkError> {
        if permanent.is_empty() {
            return Ok(HashMap::new());
        }
        let Some(number) = final_block(ctx, head).await? else {
            return Ok(HashMap::new());
        };
        // Use the hash that we stored: a block of that number on another chain proves nothing.
        let Some(hash) = blocks::hash(&ctx.pool.get().await?, number).await? else {
            return Ok(HashMap::new());
        };
        let at = BlockRef::Hash(BlockHash::from_bytes(hash));
        let ids: Vec<IntentId> = permanent
            .iter()
            .map(|(_, member)| member.intent.intent_id())
            .collect();
        let asked = async {
            let results = self.item_results(permanent, at).await?;
            Ok::<_, ChainError>((results, self.chain.intents(&ids, at).await?))
        };
        let Ok((results, records)) = asked.await else {
            return Ok(HashMap::new());
        };
        let judged = permanent.iter().zip(results).zip(records);
        let judged = judged.map(|(((id, _), result), found)| {
            let record = found.map_or(OnChainRecord::Absent, |found| {
                OnChainRecord::Present(found.status)
            });
            (*id, FinalBlockResult { result, record })
        });
        Ok(judged.collect())
    }
}
