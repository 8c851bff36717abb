//! Integrators and M-Pesa at work: each repeats its request until it is answered, and logs what was acknowledged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use futures_util::{TryStreamExt, stream};
use parking_lot::{Mutex, MutexGuard, RwLock};
use serde_json::Value;
use testkit::client::Reply;
use testkit::{Client, eventually, evm};

use super::customer_plan::{Behaviour, BehaviourMix, CustomerPlan};
use crate::ledger::{Sent, SentIntent, SentPayment};

/// Longer than any outage of a scenario: a client that gave up would itself cause a loss.
const ANSWERED_WITHIN: Duration = Duration::from_mins(20);
/// Leaves the machine to the requests of other customers.
const RETRY_PAUSE: Duration = Duration::from_millis(80);

/// The users of a run: those whom the escrow mints for, and those whom it does not.
#[derive(Debug, Clone, Default)]
pub struct Users {
    pub compliant: Vec<String>,
    pub non_compliant: Vec<String>,
}

/// What was sent, and how it was answered.
#[derive(Debug, Default)]
pub struct RequestLog {
    pub sent: Sent,
    pub reports: usize,
    /// Good requests that were answered with a refusal, by status and code.
    pub refused: BTreeMap<String, usize>,
}

/// Clones share keys and log.
#[derive(Debug, Clone)]
pub struct Customers {
    client: Arc<RwLock<Client>>,
    request_log: Arc<Mutex<RequestLog>>,
    users: Arc<Users>,
    seed: u64,
    run: String,
    mix: BehaviourMix,
}

/// Why a fault proves nothing; `None` when it was injected under load.
pub type SkipReason = Option<String>;

/// Checks that customers were answered in every phase of an operation.
#[derive(Debug)]
pub struct TrafficCheck<'a> {
    customers: &'a Customers,
    last_count: usize,
    idle_phase: Option<&'static str>,
}

impl<'a> TrafficCheck<'a> {
    pub fn since(customers: &'a Customers) -> Self {
        Self {
            customers,
            last_count: customers.answered(),
            idle_phase: None,
        }
    }

    /// Remembers `phase` if nobody was answered since the last call.
    pub fn expect_traffic(&mut self, phase: &'static str) {
        let answered = self.customers.answered();
        if answered == self.last_count {
            self.idle_phase.get_or_insert(phase);
        }
        self.last_count = answered;
    }

    /// `Some` if some phase had no traffic.
    pub fn into_skip_reason(self) -> SkipReason {
        self.idle_phase
            .map(|phase| format!("no customer was answered {phase}"))
    }
}

impl Customers {
    pub fn new(client: Client, users: Users, seed: u64, run: &str, mix: BehaviourMix) -> Self {
        Self {
            client: Arc::new(RwLock::new(client)),
            request_log: Arc::default(),
            users: Arc::new(users),
            seed,
            run: run.to_owned(),
            mix,
        }
    }

    /// Further customers of the same run; their references start with the number of their group.
    #[must_use]
    pub fn with_group(&self, group: usize) -> Self {
        Self {
            run: format!("P{group}"),
            ..self.clone()
        }
    }

    /// A client that signs with the current keys.
    pub fn client(&self) -> Client {
        self.client.read().clone()
    }

    /// Changes the keys of every customer from now on.
    pub fn change_keys(&self, change: impl FnOnce(&mut Client)) {
        change(&mut self.client.write());
    }

    /// Number of requests of integrators and reports of M-Pesa that were answered.
    fn answered(&self) -> usize {
        let request_log = self.request_log();
        request_log.sent.intents.len() + request_log.reports
    }

    pub fn request_log(&self) -> MutexGuard<'_, RequestLog> {
        self.request_log.lock()
    }

    /// Runs these customers, `at_once` of them at a time; each starts when `admit` returns.
    pub async fn run(
        &self,
        numbers: impl Iterator<Item = usize>,
        at_once: usize,
        admit: impl AsyncFn(usize),
    ) -> Result<()> {
        let admit = &admit;
        stream::iter(numbers.map(Ok))
            .try_for_each_concurrent(at_once, |number| async move {
                admit(number).await;
                let plan = CustomerPlan::of(self.seed, &self.run, number, &self.mix);
                self.run_customer(&plan)
                    .await
                    .with_context(|| plan.tx_ref.clone())
            })
            .await
    }

    async fn run_customer(&self, plan: &CustomerPlan) -> Result<()> {
        let users = match plan.behaviour {
            Behaviour::NotCompliant => &self.users.non_compliant,
            _ => &self.users.compliant,
        };
        let user = &users[plan.user % users.len()];
        if plan.behaviour == Behaviour::PaysEarly {
            self.report_payment(plan).await?;
            return self.create_intent(plan, user).await;
        }
        self.create_intent(plan, user).await?;
        match plan.behaviour {
            Behaviour::Repeats(times) => {
                try_join_all((0..times).map(|_| self.report_payment(plan))).await?;
                Ok(())
            }
            _ => self.report_payment(plan).await,
        }
    }

    async fn create_intent(&self, plan: &CustomerPlan, user: &str) -> Result<()> {
        let body = plan.intent_body(user);
        let send = async || self.client().create(&plan.key, &body).await;
        let reply = self.until_answered(201, send).await?;
        let id = reply.json()?["intentId"]
            .as_str()
            .context("no intentId")?
            .to_owned();
        let intent = SentIntent {
            tx_ref: plan.tx_ref.clone(),
            user: user.to_owned(),
            shillings: plan.shillings,
            expected: plan.expected(),
        };
        self.request_log().sent.intents.insert(id, intent);
        Ok(())
    }

    async fn report_payment(&self, plan: &CustomerPlan) -> Result<()> {
        let (body, paid): (Value, _) = plan.report_body()?;
        let send = async || self.client().callback(&body).await;
        self.until_answered(200, send).await?;
        let mut request_log = self.request_log();
        request_log.reports += 1;
        if let Some(shillings) = paid {
            let tx_ref = plan.tx_ref.clone();
            request_log
                .sent
                .payments
                .insert(plan.receipt.clone(), SentPayment { tx_ref, shillings });
        }
        Ok(())
    }

    /// Does what every client must do: repeats the request until there is an answer. A refusal of a valid request is
    /// logged and not repeated: it would be refused again.
    async fn until_answered(&self, expected: u16, send: impl AsyncFn() -> Result<Reply>) -> Result<Reply> {
        eventually(ANSWERED_WITHIN, "an answer", async || {
            let reply = match send().await {
                Ok(reply) if reply.status == expected => return Ok(Some(Ok(reply))),
                Ok(reply) => reply,
                Err(error) => {
                    testkit::wait::pause(RETRY_PAUSE).await;
                    return Err(error);
                }
            };
            if reply.status < 500 && !matches!(reply.status, 408 | 409 | 429) {
                let what = format!("{} {}", reply.status, reply.code().unwrap_or_default());
                *self.request_log().refused.entry(what.clone()).or_default() += 1;
                return Ok(Some(Err(what)));
            }
            testkit::wait::pause(RETRY_PAUSE).await;
            bail!("{}", reply.status)
        })
        .await?
        .map_err(|what| anyhow::anyhow!("a valid request was refused: {what}"))
    }
}

/// Addresses that follow from the seed, so that a run can be read beside another of the same seed.
pub fn address(seed: u64, number: u64) -> String {
    let mut random = fastrand::Rng::with_seed(seed.rotate_left(17) ^ number);
    (0..20).fold("0x".to_owned(), |text, _| format!("{text}{:02x}", random.u8(1..)))
}

/// Registers the compliant users on chain, all within a block or two.
pub async fn users(app: &testkit::App, seed: u64, compliant: u64) -> Result<Users> {
    let users = Users {
        compliant: (0..compliant).map(|number| address(seed, number)).collect(),
        non_compliant: (compliant..compliant + 2)
            .map(|number| address(seed, number))
            .collect(),
    };
    evm::make_all_compliant(&app.chain.url(), &app.addresses, &users.compliant).await?;
    Ok(users)
}
