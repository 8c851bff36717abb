//! Gathers the facts about a page of entries: their seals, the services' rows, and the chain.

use anyhow::{Context as _, Result};
use chain::{BlockRef, ChainClient};
use domain::command::Command;
use domain::ids::{IntentId, ReportId};
use domain::policy::ChainPolicy;
use messaging::dead_letters::DeadLetter;
use messaging::seal::OpenedMessage;
use messaging::wire::{Body, MintExecute, MintOutcome, MintRefund, MintSubmit, MpesaResult};
use messaging::{OpenError, Opener, WorkQueue};
use reconcile::dead_letters::{EntryFacts, OnChainStatus};
use storage::DbClient;
use storage::ops::dead_letters;
use tokio::sync::OnceCell;

use crate::context::CommandContext;

/// The sources of the facts.
pub struct FactSources<'a> {
    pub context: &'a CommandContext,
    pub opener: Opener,
    /// If false, only the executor's rows are used.
    pub ask_chain: bool,
    chain: OnceCell<FinalizedChain>,
}

struct FinalizedChain {
    chain: ChainClient,
    policy: ChainPolicy,
}

impl FinalizedChain {
    /// The last final block, if the escrow exists in it: right after a deployment nothing of ours is final.
    async fn last_final(&self, head: u64) -> Result<Option<BlockRef>> {
        let Some(number) = self.chain.final_block_number(&self.policy, head).await? else {
            return Ok(None);
        };
        let at = BlockRef::Number(number);
        let deployed = self.chain.has_code(&self.chain.escrow(), at).await?;
        Ok(deployed.then_some(at))
    }
}

/// The subject of a verified entry.
enum Subject {
    Command {
        command: Command,
        intent: IntentId,
    },
    Outcome {
        intent: IntentId,
        tx_ref: String,
        sequence: u64,
    },
    Report(ReportId),
}

impl<'a> FactSources<'a> {
    pub fn new(context: &'a CommandContext, opener: Opener, ask_chain: bool) -> Self {
        Self {
            context,
            opener,
            ask_chain,
            chain: OnceCell::new(),
        }
    }

    /// Returns the facts of each entry, in order. Makes at most four requests to the chain and three to the database.
    pub async fn gather(&self, client: &DbClient, entries: &[&DeadLetter]) -> Result<Vec<EntryFacts>> {
        let subjects: Vec<Result<Subject, OpenError>> =
            entries.iter().map(|entry| self.subject(entry)).collect();
        let known: Vec<&Subject> = subjects.iter().filter_map(|s| s.as_ref().ok()).collect();
        let commands: Vec<IntentId> = known
            .iter()
            .filter_map(|s| match s {
                Subject::Command { intent, .. } => Some(*intent),
                _ => None,
            })
            .collect();
        let tx_refs: Vec<&str> = known
            .iter()
            .filter_map(|s| match s {
                Subject::Outcome { tx_ref, .. } => Some(tx_ref.as_str()),
                _ => None,
            })
            .collect();
        let reports: Vec<ReportId> = known
            .iter()
            .filter_map(|s| match s {
                Subject::Report(id) => Some(*id),
                _ => None,
            })
            .collect();
        let legs = dead_letters::legs(client, &commands).await?;
        let last_applied = dead_letters::accepted_sequences(client, &tx_refs).await?;
        let outcomes = dead_letters::outcomes(client, &reports).await?;
        let mut records = self.records(&commands).await?.into_iter();
        let facts = subjects.into_iter().map(|subject| match subject {
            Err(error) => EntryFacts::Unreadable(error.to_string()),
            Ok(Subject::Command { command, intent }) => EntryFacts::Command {
                command,
                leg: legs.get(&intent).copied(),
                record: records.next(),
            },
            Ok(Subject::Outcome { intent, sequence, .. }) => EntryFacts::Outcome {
                sequence,
                last_applied: last_applied.get(&intent).copied(),
            },
            Ok(Subject::Report(id)) => EntryFacts::Report {
                outcome: outcomes.get(&id).copied(),
            },
        });
        Ok(facts.collect())
    }

    fn subject(&self, entry: &DeadLetter) -> Result<Subject, OpenError> {
        let opened = self.opener.open(entry.origin, &entry.payload)?;
        match entry.origin {
            WorkQueue::MintSubmit => subject_of::<MintSubmit>(Command::Submit, &opened),
            WorkQueue::MintExecute => subject_of::<MintExecute>(Command::Execute, &opened),
            WorkQueue::MintRefund => subject_of::<MintRefund>(Command::Refund, &opened),
            WorkQueue::MintOutcome => {
                let body: MintOutcome = opened.body()?;
                Ok(Subject::Outcome {
                    intent: body.intent.intent_id(),
                    tx_ref: body.intent.tx_ref.to_string(),
                    sequence: body.sequence,
                })
            }
            WorkQueue::MpesaResult => {
                let body: MpesaResult = opened.body()?;
                Ok(Subject::Report(body.report.report_id))
            }
        }
    }

    /// The escrow's records of the intents, in order; empty if the chain is not queried.
    async fn records(&self, ids: &[IntentId]) -> Result<Vec<OnChainStatus>> {
        if !self.ask_chain || ids.is_empty() {
            return Ok(Vec::new());
        }
        let view = self.chain.get_or_try_init(|| self.open_chain()).await?;
        let head = view.chain.latest_header().await?;
        let latest = view.chain.intents(ids, BlockRef::Hash(head.hash)).await?;
        let settled = match view.last_final(head.number).await? {
            Some(at) => view.chain.intents(ids, at).await?,
            None => vec![None; ids.len()],
        };
        let status = |found: Option<chain::query::IntentOnChain>| found.map(|intent| intent.status);
        Ok(latest
            .into_iter()
            .zip(settled)
            .map(|(latest, settled)| OnChainStatus {
                latest: status(latest),
                finalized: status(settled),
            })
            .collect())
    }

    async fn open_chain(&self) -> Result<FinalizedChain> {
        let opened = async {
            let contracts = self.context.contracts()?;
            let chain = self.context.chain(contracts.escrow)?.pinned();
            self.context.check_chain_id(&chain).await?;
            let policy = self.context.policy()?.chain;
            anyhow::Ok(FinalizedChain { chain, policy })
        };
        opened.await.context(
            "the chain is asked before a command is replayed (--without-chain trusts the executor's rows)",
        )
    }
}

fn subject_of<B: Body>(command: Command, opened: &OpenedMessage) -> Result<Subject, OpenError> {
    let body: B = opened.body()?;
    body.intent_id()
        .map(|intent| Subject::Command { command, intent })
        .ok_or_else(|| OpenError::Malformed("a command without an intent".into()))
}
