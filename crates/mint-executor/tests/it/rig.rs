//! An executor whose steps a test runs one by one, over a private database and a private chain that mines on request.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use chain::compliance::Assessment;
use chain::transaction::recover;
use chain::{ChainClient, LocalKey, RpcConfig, Signer, TxHash};
use domain::address::Address;
use domain::clock::{Clock, IdSource, SystemSource};
use domain::command::Command;
use domain::country::CountryCode;
use domain::ids::{IntentId, MessageId, Preimage};
use domain::intent::ChainLeg;
use domain::policy::Policy;
use domain::signature::{SignedRequest, SigningScheme};
use messaging::wire::{
    Body, MintExecute, MintOutcome, MintRefund, MintSubmit, Outcome, RefundReason, SignedReport,
};
use messaging::{
    Broker, BrokerConfig, Delivery, Disposition, MessageMetadata, Opener, Publisher, Sealer, Service,
    WorkQueue,
};
use mint_executor::breakers::Breakers;
use mint_executor::confirm::Follower;
use mint_executor::confirm::nonces::NonceManager;
use mint_executor::consume::{self, CommandBody};
use mint_executor::context::{Context, ContextParts};
use mint_executor::lease;
use mint_executor::settings::Tuning;
use mint_executor::signer_handle::SignerHandle;
use mint_executor::submit::{self, BatchResult, Simulation};
use mint_executor::verify::Verifier;
use runtime::{Environment, KeyDirectory};
use serde_json::json;
use storage::executor::follower::{self, FollowerLease};
use storage::executor::legs::{self, ChainLegRow};
use storage::executor::signers::{self, SignerLease};
use storage::{Outbox, Pool, PoolConfig};
use testkit::anvil::{ADMIN_PRIVATE_KEY, EXECUTOR_PRIVATE_KEY, Mining};
use testkit::{Addresses, Anvil, Database, DevKeys, Servers};
use tokio::sync::watch;

pub const PAUSE: [u8; 4] = [0x84, 0x56, 0xcb, 0x59];
pub const UNPAUSE: [u8; 4] = [0x3f, 0x4b, 0xa8, 0x3a];

/// What makes a user compliant.
pub const COMPLIANT: Assessment = Assessment {
    risk_score: 10,
    attestation: [7; 32],
    verified: true,
};

pub struct TestEnvironment {
    pub db: Database,
    pub node: Anvil,
    pub at: Addresses,
    /// Connects with the executor's rights only.
    pub db_url: String,
    keys: tempfile::TempDir,
    pub admin: LocalKey,
}

impl TestEnvironment {
    pub async fn new() -> Result<Self> {
        let servers = Servers::shared()?;
        let (node, at) = Anvil::deployed(Mining::Manual).await?;
        let keys = tempfile::tempdir()?;
        DevKeys::generate(keys.path())?;
        let db = servers.database().await?;
        Ok(Self {
            db_url: db.login("executor")?,
            db,
            node,
            at,
            keys,
            admin: ADMIN_PRIVATE_KEY.parse()?,
        })
    }

    pub fn keys_dir(&self, service: &str) -> String {
        self.keys.path().join(service).to_string_lossy().into_owned()
    }

    pub fn policy() -> Result<Policy> {
        Ok(Policy::load(include_str!("../../../../deploy/policy.json"), [])?)
    }

    /// Another executor over the same rows, as after a restart.
    pub fn executor(&self) -> Result<TestExecutor> {
        self.executor_at(&self.node.url())
    }

    pub fn executor_at(&self, rpc: &str) -> Result<TestExecutor> {
        self.executor_from_urls(&[rpc.to_owned()], &[EXECUTOR_PRIVATE_KEY], Self::policy()?)
    }

    /// An executor with several nodes, in order of preference.
    pub fn executor_with_nodes(&self, rpcs: &[String]) -> Result<TestExecutor> {
        self.executor_from_urls(rpcs, &[EXECUTOR_PRIVATE_KEY], Self::policy()?)
    }

    /// An executor that uses the chain's `finalized` tag.
    pub fn executor_with_finalized_tag(&self) -> Result<TestExecutor> {
        self.executor_with_policy("FIATRAILS_POLICY_CHAIN_FINALITY", "finalizedTag")
    }

    /// An executor for which a block is final after that many confirmations.
    pub fn executor_with_confirmations(&self, confirmations: u64) -> Result<TestExecutor> {
        self.executor_with_policy("FIATRAILS_POLICY_CHAIN_CONFIRMATIONS", &confirmations.to_string())
    }

    fn executor_with_policy(&self, field: &str, value: &str) -> Result<TestExecutor> {
        let other = (field.to_owned(), value.to_owned());
        let policy = Policy::load(include_str!("../../../../deploy/policy.json"), [other])?;
        self.executor_from_urls(&[self.node.url()], &[EXECUTOR_PRIVATE_KEY], policy)
    }

    /// An executor with these keys.
    pub fn executor_with_keys(&self, keys: &[&str]) -> Result<TestExecutor> {
        self.executor_from_urls(&[self.node.url()], keys, Self::policy()?)
    }

    /// An executor with that timeout for each answer of its nodes.
    pub fn executor_with_timeout(&self, rpcs: &[String], timeout: Duration) -> Result<TestExecutor> {
        let urls = rpcs.iter().map(|url| url.as_str().into()).collect();
        let rpc = RpcConfig::new(urls, timeout);
        self.executor_from(&rpc, local(&[EXECUTOR_PRIVATE_KEY])?, Self::policy()?)
    }

    /// An executor whose only signer is this one.
    pub fn executor_with_signer(&self, signer: Arc<dyn Signer>) -> Result<TestExecutor> {
        let rpc = RpcConfig::new(vec![self.node.url().into()], Duration::from_millis(1500));
        self.executor_from(&rpc, vec![signer], Self::policy()?)
    }

    fn executor_from_urls(
        &self,
        rpcs: &[String],
        private_keys: &[&str],
        policy: Policy,
    ) -> Result<TestExecutor> {
        let urls = rpcs.iter().map(|url| url.as_str().into()).collect();
        let rpc = RpcConfig::new(urls, Duration::from_millis(1500));
        self.executor_from(&rpc, local(private_keys)?, policy)
    }

    fn executor_from(
        &self,
        rpc: &RpcConfig,
        signers: Vec<Arc<dyn Signer>>,
        policy: Policy,
    ) -> Result<TestExecutor> {
        let escrow: Address = self.at.escrow.parse()?;
        let keys = KeyDirectory::open(&DevKeys::generate(self.keys.path())?.dir("mint-executor"))?;
        let broker = Broker::new(BrokerConfig {
            url: "amqp://nobody:nothing@127.0.0.1:1/none".into(),
            service: Service::MintExecutor,
            version: "test".into(),
            ca_pem: None,
        })?;
        let ctx = Context::new(ContextParts {
            instance: SystemSource.uuid(),
            pool: Pool::new(&PoolConfig::new(self.db_url.clone().into(), "test"))?,
            chain: ChainClient::new(rpc, escrow)?,
            signers: signers
                .into_iter()
                .map(|signer| Arc::new(SignerHandle::new(signer)))
                .collect(),
            tuning: Tuning {
                lease: Duration::from_mins(1),
                ..Environment::default().read()?
            },
            verifier: Verifier {
                opener: Opener::new(keys.pipeline()),
                keys: keys.clone(),
                chain_id: policy.chain.chain_id,
                escrow,
            },
            policy,
            sealer: Sealer::new(keys.pipeline()),
            publisher: Publisher::new(&broker),
            clock: Arc::new(SystemSource),
            ids: Arc::new(SystemSource),
            breakers: Breakers::default(),
            relay: runtime::relay::RelayNotifier::default(),
            follower_lease: watch::Sender::new(None),
            head: watch::Sender::new(None),
            node_answer: watch::Sender::new(None),
            problem: watch::Sender::new(None),
        });
        Ok(TestExecutor {
            nonce_managers: ctx.signers.iter().map(|_| NonceManager::default()).collect(),
            ctx,
            follower: Follower::default(),
        })
    }

    pub fn intent(&self, n: u64) -> Result<Preimage> {
        let mut user = [0x42; 20];
        user[12..].copy_from_slice(&n.to_be_bytes());
        Ok(Preimage {
            chain_id: testkit::anvil::CHAIN_ID,
            escrow: self.at.escrow.parse()?,
            depositor: self.at.treasury.parse()?,
            user: Address::from_bytes(user)?,
            amount: "150000000000000000000".parse()?,
            country_code: CountryCode::KES,
            tx_ref: format!("TX{n:010}").parse()?,
        })
    }

    /// An intent whose user is compliant.
    pub async fn compliant_intent(&self, n: u64, chain: &ChainClient) -> Result<Preimage> {
        let intent = self.intent(n)?;
        let manager = self.at.compliance_manager.parse()?;
        self.automine(true).await?;
        let set = chain.set_user_compliance(
            &self.admin,
            &manager,
            &intent.user,
            &COMPLIANT,
            Duration::from_secs(5),
        );
        set.await?;
        self.automine(false).await?;
        Ok(intent)
    }

    pub async fn as_admin(&self, chain: &ChainClient, data: &[u8]) -> Result<()> {
        self.automine(true).await?;
        chain
            .transact(
                &self.admin,
                &chain.escrow(),
                data.to_vec(),
                Duration::from_secs(5),
            )
            .await?;
        self.automine(false).await
    }

    async fn automine(&self, on: bool) -> Result<()> {
        self.node.rpc("evm_setAutomine", json!([on])).await.map(drop)
    }

    pub async fn minted(&self, chain: &ChainClient, user: &Address) -> Result<u128> {
        Ok(chain
            .token_balance(&self.at.country_token.parse()?, user, chain::BlockRef::Latest)
            .await?)
    }

    /// Restarts the node with all blocks and logs but only the state of the head, like a full node.
    pub async fn drop_old_state(&mut self) -> Result<()> {
        let state = self.node.rpc("anvil_dumpState", json!([])).await?;
        self.node = Anvil::start_with(testkit::anvil::Options {
            mining: Mining::Manual,
            ..Default::default()
        })
        .await?;
        self.node.rpc("anvil_loadState", json!([state])).await?;
        Ok(())
    }

    /// Expires all leases, as if their holder had hung for longer than that.
    pub fn expire_leases(&self) -> Result<()> {
        self.db.sql("update signers set lease_until = now()")?;
        self.db
            .sql("update block_follower_lease set lease_until = now()")
            .map(drop)
    }

    /// Ends the delay of every item.
    pub fn end_item_delays(&self) -> Result<()> {
        self.db.sql("update work_items set not_before = now()").map(drop)
    }

    /// Grants or revokes EXECUTOR_ROLE.
    pub async fn set_role(&self, chain: &ChainClient, signer: &Address, on: bool) -> Result<()> {
        let call = if on {
            chain::roles::grant_executor(signer)
        } else {
            chain::roles::revoke_executor(signer)
        };
        self.as_admin(chain, &call).await
    }

    pub async fn fund(&self, account: &Address, wei: u128) -> Result<()> {
        let balance = json!([account.to_string(), format!("{wei:#x}")]);
        self.node.rpc("anvil_setBalance", balance).await.map(drop)
    }

    pub fn count(&self, sql: &str) -> Result<u64> {
        Ok(self.db.sql(sql)?.parse()?)
    }
}

pub struct TestExecutor {
    pub ctx: Context,
    pub follower: Follower,
    nonce_managers: Vec<NonceManager>,
}

impl TestExecutor {
    /// Acquires all leases and ingests the chain so far.
    pub async fn acquire_leases(&mut self) -> Result<SignerLease> {
        for key in self.ctx.signers.clone() {
            self.take(&key).await?;
        }
        self.follow().await?;
        self.poll().await?;
        self.lease()
    }

    /// Acquires the lease of one signer.
    pub async fn take(&self, key: &SignerHandle) -> Result<()> {
        let lease = testkit::eventually(Duration::from_secs(10), "the lease", async || {
            Ok(lease::acquire(&self.ctx, key).await?)
        });
        key.lease.send_replace(Some(lease.await?));
        Ok(())
    }

    async fn follow(&self) -> Result<()> {
        let (ctx, patience) = (&self.ctx, Duration::from_secs(10));
        let following = testkit::eventually(patience, "the right to take in blocks", async || {
            Ok(follower::acquire(&ctx.pool.get().await?, ctx.instance, ctx.tuning.lease).await?)
        });
        self.ctx.follower_lease.send_replace(Some(following.await?));
        Ok(())
    }

    /// The first signer.
    pub fn signer(&self) -> &SignerHandle {
        &self.ctx.signers[0]
    }

    pub fn lease(&self) -> Result<SignerLease> {
        self.signer().current_lease().context("the lease is held")
    }

    pub fn following(&self) -> Result<FollowerLease> {
        self.ctx.current_follower_lease().context("we take in the blocks")
    }

    /// Runs what the confirm and nonce tasks do once per poll, and renews the leases as the process does.
    pub async fn poll(&mut self) -> Result<()> {
        let following = self.following()?;
        let client = self.ctx.pool.get().await?;
        follower::renew(&client, &following, self.ctx.tuning.lease).await?;
        for key in &self.ctx.signers {
            if let Some(lease) = key.current_lease() {
                signers::renew(&client, &lease, self.ctx.tuning.lease).await?;
            }
        }
        drop(client);
        let before = hash_of(&self.ctx);
        self.follower.poll(&self.ctx, &following).await?;
        let Some(head) = *self.ctx.head.borrow() else {
            return Ok(());
        };
        if before == Some(head.hash) {
            return Ok(());
        }
        for (key, nonce_manager) in self.ctx.signers.iter().zip(&mut self.nonce_managers) {
            if let Some(lease) = key.current_lease() {
                nonce_manager.on_head(&self.ctx, (key, &lease), &head).await?;
            }
        }
        Ok(())
    }

    /// Mines blocks and ingests each.
    pub async fn mine(&mut self, world: &TestEnvironment, blocks: u64) -> Result<()> {
        for _ in 0..blocks {
            world.node.mine(1).await?;
            self.poll().await?;
        }
        Ok(())
    }

    pub async fn round(&self, command: Command) -> Result<BatchResult> {
        self.submit_batch_of(self.signer(), command).await
    }

    pub async fn submit_batch_of(&self, key: &SignerHandle, command: Command) -> Result<BatchResult> {
        let lease = key.current_lease().context("the lease is held")?;
        Ok(submit::submit_batch(&self.ctx, key, &lease, command).await?)
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
    pub async fn submit_unsimulated(&self, key: &SignerHandle, command: Command) -> Result<BatchResult> {
        let head = (*self.ctx.head.borrow()).context("a head")?;
        let lease = key.current_lease().context("the lease is held")?;
        let skipped = Simulation::skipped();
        let (built, _) = submit::build(&self.ctx, (key, &lease), command, (&head, &skipped)).await?;
        if let BatchResult::Attempt { id, signed, .. } = &built {
            submit::broadcast(&self.ctx, *id, (&lease.signer, signed)).await;
        }
        Ok(built)
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
        let sealed = self.ctx.sealer.seal(&body, stamp)?;
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
        let answers = consume::consume(self.ctx.clone(), vec![delivery]).await;
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
        let keys = self.ctx.verifier.keys.current();
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
        self.ctx
            .chain
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
        let client = self.ctx.pool.get().await?;
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
        legs::read(&self.ctx.pool.get().await?, &[*id])
            .await?
            .pop()
            .context("a leg")
    }

    pub async fn leg(&self, intent: &Preimage) -> Result<ChainLeg> {
        Ok(self.leg_row(&intent.intent_id()).await?.leg)
    }

    /// The outcomes published since the last call, in order.
    pub async fn published_outcomes(&self) -> Result<Vec<(IntentId, Outcome, bool)>> {
        let client = self.ctx.pool.get().await?;
        let rows = Outbox::Executor
            .claim(&client, 1000, Duration::from_secs(1), &[])
            .await?;
        let ids: Vec<i64> = rows.iter().map(|row| row.id).collect();
        Outbox::Executor.delete_many(&client, &ids).await?;
        rows.iter()
            .map(|row| {
                let opened = self
                    .ctx
                    .verifier
                    .opener
                    .open(WorkQueue::MintOutcome, &row.envelope)?;
                let body: MintOutcome = opened.body()?;
                Ok((body.intent.intent_id(), body.outcome, body.r#final))
            })
            .collect()
    }
}

fn local(private_keys: &[&str]) -> Result<Vec<Arc<dyn Signer>>> {
    let keys = private_keys.iter();
    keys.map(|key| Ok(Arc::new(key.parse::<LocalKey>()?) as Arc<dyn Signer>))
        .collect()
}

fn hash_of(ctx: &Context) -> Option<chain::BlockHash> {
    ctx.head.borrow().map(|head| head.hash)
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
