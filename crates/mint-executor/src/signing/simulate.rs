//! Simulates a batch with a node, at the block that we build on, before anything is signed: one request for a whole batch,
//! so that an item the chain would refuse costs no gas. The simulation is optional: without an answer the batch is sent
//! as it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chain::query::BlockHeader;
use chain::{BlockHash, BlockRef, ChainClient, ChainError};
use domain::command::Command;
use domain::ids::{IntentId, MessageId};
use domain::item_result::ItemResult;
use storage::Pool;
use storage::executor::blocks;
use storage::executor::signers::SignerLease;
use tokio::time::timeout;

use super::call::calldata;
use super::plan::{BatchMember, BatchPlan, Planner};
use crate::error::WorkError;
use crate::observe;
use crate::rules::batching;
use crate::rules::next_step::ItemFacts;
use crate::rules::record::OnChainRecord;
use crate::rules::simulation::{
    FinalBlockResult, Simulation, SimulationResult, is_permanent, simulation_result,
};
use crate::settling::FinalBlocks;
use crate::state::SignerHandle;

/// Work waits at most this long for a simulation.
const TIMEOUT: Duration = Duration::from_secs(2);

pub struct Simulator {
    pub pool: Pool,
    pub chain: ChainClient,
    pub signer: Arc<SignerHandle>,
    pub planner: Planner,
    pub final_blocks: FinalBlocks,
}

/// The very block that the work is planned on: a node that lags does not answer for it.
const fn state_of(head: &BlockHeader) -> BlockRef {
    BlockRef::Hash(head.hash)
}

impl Simulator {
    /// Plans the next batch without locks and simulates it; `None` when no item is ready.
    pub async fn simulate(
        &self,
        lease: &SignerLease,
        command: Command,
        head: &BlockHeader,
    ) -> Result<Option<Simulation>, WorkError> {
        let Some(plan) = self.plan_ready(lease, command, head).await? else {
            return Ok(None);
        };
        if plan.members.is_empty() {
            return Ok(Some(Simulation::of(HashMap::new())));
        }
        let simulation = match timeout(TIMEOUT, self.results(command, &plan.members, head)).await {
            Ok(Ok(results)) => {
                observe::batch_simulated(command, results.values());
                Simulation::of(results)
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
        &self,
        lease: &SignerLease,
        command: Command,
        head: &BlockHeader,
    ) -> Result<Option<BatchPlan>, WorkError> {
        let client = self.pool.get().await?;
        // Without ready items no request is sent.
        let Some(mut ready) = self.planner.find_ready(&client, lease, command, head).await? else {
            return Ok(None);
        };
        Ok(Some(self.planner.plan(
            command,
            &mut ready,
            &Simulation::skipped(),
        )?))
    }

    /// Every request names its block by hash, so answers of different endpoints fit together.
    async fn results(
        &self,
        command: Command,
        members: &[BatchMember],
        head: &BlockHeader,
    ) -> Result<HashMap<MessageId, SimulationResult>, WorkError> {
        let all: Vec<&BatchMember> = members.iter().collect();
        let results = self.item_results(command, &all, state_of(head)).await?;
        let batch = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let facts = |result| ItemFacts {
            command,
            result,
            record: OnChainRecord::NotRead,
            batch_size: batch,
        };
        let permanent: Vec<&BatchMember> = all
            .iter()
            .zip(&results)
            .filter(|(_, result)| is_permanent(facts(**result)))
            .map(|(member, _)| *member)
            .collect();
        let at_final = self.at_final(command, head, &permanent).await?;
        let results = all.iter().zip(results).map(|((id, _), result)| {
            let simulated = simulation_result(facts(result), at_final.get(id).copied());
            (*id, simulated)
        });
        Ok(results.collect())
    }

    async fn item_results(
        &self,
        command: Command,
        members: &[&BatchMember],
        at: BlockRef,
    ) -> Result<Vec<ItemResult>, ChainError> {
        let Some(data) = calldata(members.iter().map(|(_, member)| member)) else {
            return Ok(Vec::new());
        };
        let gas_limit = batching::gas_limit(command, members.len());
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
        command: Command,
        head: &BlockHeader,
        permanent: &[&BatchMember],
    ) -> Result<HashMap<MessageId, FinalBlockResult>, WorkError> {
        if permanent.is_empty() {
            return Ok(HashMap::new());
        }
        let Some(number) = self.final_blocks.final_block(head).await? else {
            return Ok(HashMap::new());
        };
        // Use the hash that we stored: a block of that number on another chain proves nothing.
        let Some(hash) = blocks::hash(&self.pool.get().await?, number).await? else {
            return Ok(HashMap::new());
        };
        let at = BlockRef::Hash(BlockHash::from_bytes(hash));
        let ids: Vec<IntentId> = permanent
            .iter()
            .map(|(_, member)| member.intent.intent_id())
            .collect();
        let asked = async {
            let results = self.item_results(command, permanent, at).await?;
            Ok::<_, ChainError>((results, self.chain.intents(&ids, at).await?))
        };
        let Ok((results, records)) = asked.await else {
            return Ok(HashMap::new());
        };
        let results = permanent.iter().zip(results).zip(records);
        let results = results.map(|(((id, _), result), found)| {
            let record = found.map_or(OnChainRecord::Absent, |found| {
                OnChainRecord::Present(found.status)
            });
            (*id, FinalBlockResult { result, record })
        });
        Ok(results.collect())
    }
}
