//! An executor whose steps a test runs one by one.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use chain::query::BlockHeader;
use chain::transaction::recover;
use chain::{ChainClient, LocalKey, TxHash};
use domain::clock::{Clock, IdSource, SystemSource};
use domain::command::Command;
use domain::ids::{IntentId, MessageId, Preimage};
use domain::intent::ChainLeg;
use domain::signature::{SignedRequest, SigningScheme};
use messaging::wire::{
    Body, MintExecute, MintOutcome, MintRefund, MintSubmit, Outcome, RefundReason, SignedReport,
};
use messaging::{Delivery, Disposition, MessageMetadata, Opener, Sealer, WorkQueue};
use mint_executor::settings::Tuning;
use mint_executor::steps::{BatchResult, CommandBody, Executor, SignerHandle};
use runtime::KeyDirectory;
use runtime::halts::Halts;
use storage::executor::follower::{self, FollowerLease};
use storage::executor::legs::{self, ChainLegRow};
use storage::executor::signers::{self, SignerLease};
use storage::{Outbox, Pool};
use testkit::anvil::EXECUTOR_PRIVATE_KEY;
use uuid::Uuid;

use crate::world::TestEnvironment;

pub struct TestExecutor {
    pub steps: Executor,
    pub signers: Vec<Arc<SignerHandle>>,
    pub instance: Uuid,
    pub pool: Pool,
    pub chain: ChainClient,
    pub tuning: Tuning,
    pub keys: KeyDirectory,
    pub opener: Opener,
    pub sealer: Sealer,
    pub halts: Arc<Halts>,
}

impl TestExecutor {
    /// Acquires all leases and ingests the chain so far.
    pub async fn acquire_leases(&mut self) -> Result<SignerLease> {
        for key in &self.signers {
            self.take(key).await?;
        }
        self.follow().await?;
        self.poll().await?;
        self.lease()
    }

    /// Acquires the lease of one signer.
    pub async fn take(&self, key: &Arc<SignerHandle>) -> Result<()> {
        let lease = testkit::eventually(Duration::from_secs(10), "the lease", async || {
            Ok(self.steps.acquire_lease(key).await?)
        });
        key.hold_lease(lease.await?);
        Ok(())
    }

    async fn follow(&self) -> Result<()> {
        let patience = Duration::from_secs(10);
        let following = testkit::eventually(patience, "the right to take in blocks", async || {
            Ok(follower::acquire(&self.pool.get().await?, self.instance, self.tuning.lease).await?)
        });
        self.steps.view.hold_follower_lease(following.await?);
        Ok(())
    }

    /// The first signer.
    pub fn signer(&self) -> &Arc<SignerHandle> {
        self.key(0)
    }

    pub fn key(&self, index: usize) -> &Arc<SignerHandle> {
        &self.signers[index]
    }

    pub fn lease(&self) -> Result<SignerLease> {
        self.signer().current_lease().context("the lease is held")
    }

    pub fn following(&self) -> Result<FollowerLease> {
        self.steps.view.follower_lease().context("we take in the blocks")
    }

    /// The block that work is built on.
    pub fn head(&self) -> Option<BlockHeader> {
        self.steps.view.head()
    }

    pub fn set_head(&self, head: Option<BlockHeader>) {
        self.steps.view.forget_head();
        if let Some(head) = head {
            self.steps.view.set_head(head);
        }
    }

    /// The chain refused the command, which waits.
    pub fn is_blocked(&self, command: Command) -> bool {
        self.steps.gates.of_command(command).is_open()
    }

    /// Runs what the confirm and nonce tasks do once per poll, and renews the leases as the process does.
    pub async fn poll(&mut self) -> Result<()> {
        let following = self.following()?;
        let client = self.pool.get().await?;
        follower::renew(&client, &following, self.tuning.lease).await?;
        for key in &self.signers {
            if let Some(lease) = key.current_lease() {
                signers::renew(&client, &lease, self.tuning.lease).await?;
            }
        }
        drop(client);
        let before = self.head().map(|head| head.hash);
        self.steps.step_block(&following).await?;
        match self.head() {
            Some(head) if before != Some(head.hash) => Ok(self.steps.step_nonces(&head).await?),
            _ => Ok(()),
        }
    }

    /// Mines blocks and ingests each.
    pub async fn mine(&mut self, world: &TestEnvironment, blocks: u64) -> Result<()> {
        for _ in 0..blocks {
            world.node.mine(1).await?;
            self.poll().await?;
        }
        Ok(())
    }

    /// Signs and sends one batch of the first signer.
    pub async fn round(&self, command: Command) -> Result<BatchResult> {
        self.submit_batch_of(self.signer(), command).await
    }

    pub async fn submit_batch_of(&self, key: &Arc<SignerHandle>, command: Command) -> Result<BatchResult> {
        let lease = key.current_lease().context("the lease is held")?;
        Ok(self.steps.step_sign(key, &lease, command).await?)
    }

    /// Signs and sends one batch of exactly `expected` items.
    pub async fn send(&self, command: Command, expected: usize) -> Result<TxHash> {
        sent(self.round(command).await?, expected)
    }

    /// Deposits the intent, alone in its batch and its block.
    pub async fn deposit(&mut self, world: &TestEnvironment, intent: &Preimage) -> Result<()> {
        self.submit(intent).await?;
        self.send(Command::Submit, 1).await?;
        self.mine(world, 1).await
    }

    /// Sends a batch without a simulation, so that the chain decides about each item.
    pub async fn submit_unsimulated(&self, key: &Arc<SignerHandle>, command: Command) -> Result<BatchResult> {
        let head = self.head().context("a head")?;
        let lease = key.current_lease().context("the lease is held")?;
        let built = self.steps.step_store(key, &lease, command, &head).await?;
        if let BatchResult::Attempt { id, signed, .. } = &built {
            self.steps.step_broadcast(*id, &lease.signer, signed).await;
        }
        Ok(built)
    }

    /// Signs and stores a batch of the first signer, and sends nothing.
    pub async fn store_unsimulated(&self, command: Command, head: &BlockHeader) -> Result<BatchResult> {
        Ok(self
            .steps
            .step_store(self.signer(), &self.lease()?, command, head)
            .await?)
    }

    /// Sends one batch of exactly `expected` items without a simulation.
    pub async fn send_unsimulated(&self, command: Command, expected: usize) -> Result<TxHash> {
        sent(self.submit_unsimulated(self.signer(), command).await?, expected)
    }

    /// A delivery of that body, as the consumer passes it to the handler.
    pub fn delivery<B: Body>(&self, body: B) -> Result<Delivery<B>> {
        let stamp = MessageMetadata {
            message_id: SystemSource.message_id(),
            causation_id: None,
            at: SystemSource.now(),
            traceparent: None,
        };
        let sealed = self.sealer.seal(&body, stamp)?;
        Ok(Delivery {
            body,
            message_id: sealed.message_id,
            causation_id: None,
            intent_id: sealed.intent_id,
            attempt: 1,
            first_seen: SystemSource.now(),
            traceparent: None,
            redelivered: false,
            sealed: sealed.bytes,
        })
    }

    pub async fn consume_body<B: CommandBody + Clone>(&self, body: B) -> Result<MessageId> {
        let delivery = self.delivery(body)?;
        let id = delivery.message_id;
        let answers = self.steps.deliver(vec![delivery]).await;
        ensure!(answers == [Disposition::Done], "{answers:?}");
        Ok(id)
    }

    pub async fn submit(&self, intent: &Preimage) -> Result<MessageId> {
        self.submit_accepted(intent, SystemSource.unix_seconds()).await
    }

    pub async fn submit_accepted(&self, intent: &Preimage, accepted_at: i64) -> Result<MessageId> {
        let intent = intent.clone();
        self.consume_body(MintSubmit {
            intent,
            integrator: "dev".parse()?,
            accepted_at,
        })
        .await
    }

    pub async fn execute(&self, intent: &Preimage) -> Result<MessageId> {
        let report = self.report(&paid_body(intent, "150"))?;
        self.consume_body(MintExecute {
            intent: intent.clone(),
            report,
        })
        .await
    }

    pub async fn refund(&self, intent: &Preimage) -> Result<MessageId> {
        self.consume_body(MintRefund {
            intent: intent.clone(),
            reason: RefundReason::Declined,
        })
        .await
    }

    /// A report as the gateway stores it, signed with the M-Pesa key of the key directory.
    pub fn report(&self, body: &str) -> Result<SignedReport> {
        let keys = self.keys.current();
        let (key_id, secret) = keys.mpesa.current().context("an M-Pesa key")?;
        let request = SignedRequest {
            scheme: SigningScheme::Mpesa,
            key_id,
            timestamp: "1767225600",
            method: "POST",
            path: "/callbacks/mpesa",
            query: "",
            idempotency_key: "",
            body: body.as_bytes(),
        };
        Ok(SignedReport {
            report_id: SystemSource.report_id(),
            body: body.as_bytes().to_vec(),
            timestamp: "1767225600".into(),
            signature: request.sign(secret).to_string(),
            path: "/callbacks/mpesa".into(),
            query: String::new(),
            received_at: 1_767_225_600_000,
        })
    }

    /// Mines a transaction of our key that the executor did not sign, so that its next nonce is used.
    pub async fn use_next_nonce(&self, world: &TestEnvironment) -> Result<()> {
        world.automine(true).await?;
        let own = self.signer().address();
        self.chain
            .transact(
                &EXECUTOR_PRIVATE_KEY.parse::<LocalKey>()?,
                &own,
                Vec::new(),
                Duration::from_secs(5),
            )
            .await?;
        world.automine(false).await
    }

    /// The highest fee of all open attempts, wei per gas.
    pub async fn highest_fee(&self) -> Result<u128> {
        let client = self.pool.get().await?;
        let open = storage::executor::attempts::open(&client).await?;
        let fees = open.iter().map(|attempt| {
            Ok(recover(&attempt.raw_transaction)?
                .transaction
                .fees
                .max_fee_per_gas)
        });
        let fees: Vec<u128> = fees.collect::<Result<_>>()?;
        fees.into_iter().max().context("an open attempt")
    }

    pub async fn leg_row(&self, id: &IntentId) -> Result<ChainLegRow> {
        legs::read(&self.pool.get().await?, &[*id])
            .await?
            .pop()
            .context("a leg")
    }

    pub async fn leg(&self, intent: &Preimage) -> Result<ChainLeg> {
        Ok(self.leg_row(&intent.intent_id()).await?.leg)
    }

    /// The outcomes published since the last call, in order.
    pub async fn published_outcomes(&self) -> Result<Vec<(IntentId, Outcome, bool)>> {
        let client = self.pool.get().await?;
        let rows = Outbox::Executor
            .claim(&client, 1000, Duration::from_secs(1), &[])
            .await?;
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        Outbox::Executor.delete_many(&client, &ids).await?;
        rows.iter()
            .map(|row| {
                let opened = self.opener.open(WorkQueue::MintOutcome, &row.envelope)?;
                let body: MintOutcome = opened.body()?;
                Ok((body.intent.intent_id(), body.outcome, body.r#final))
            })
            .collect()
    }
}

pub fn paid_body(intent: &Preimage, shillings: &str) -> String {
    format!(
        r#"{{"txRef":"{}","amount":"{shillings}","phone":"254708374149","timestamp":1767225600,"receipt":"R{}","resultCode":0}}"#,
        intent.tx_ref, intent.tx_ref
    )
}

fn sent(built: BatchResult, expected: usize) -> Result<TxHash> {
    match built {
        BatchResult::Attempt { signed, items, .. } => {
            ensure!(items == expected, "{items} items");
            Ok(signed.hash)
        }
        other => bail!("{other:?}"),
    }
}
