//! Integrators and M-Pesa at work: each sends again until it is answered, and notes what was acknowledged.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::future::try_join_all;
use futures_util::{TryStreamExt, stream};
use serde_json::Value;
use testkit::client::Reply;
use testkit::{Client, eventually, evm};

use super::story::{Habit, Mix, Story};
use crate::ledger::{Sent, SentIntent, SentPayment};

/// Longer than any outage of a story: giving up would be a loss of the driver's own making.
const ANSWERED_WITHIN: Duration = Duration::from_mins(20);
/// Others' answers are waited for meanwhile.
const PAUSE: Duration = Duration::from_millis(80);

/// The users of a run: those whom the escrow mints for, and those whom it does not.
#[derive(Debug, Clone, Default)]
pub struct Users {
    pub good: Vec<String>,
    pub refused: Vec<String>,
}

/// What was sent, and how it was answered.
#[derive(Debug, Default)]
pub struct Notes {
    pub sent: Sent,
    pub reports: usize,
    /// Good requests that were answered with a refusal, by status and code.
    pub refused: BTreeMap<String, usize>,
}

/// Clones share keys and notes.
#[derive(Debug, Clone)]
pub struct Customers {
    client: Arc<RwLock<Client>>,
    notes: Arc<Mutex<Notes>>,
    users: Arc<Users>,
    seed: u64,
    run: String,
    mix: Mix,
}

/// Why what was done proves nothing, if it does not.
pub type Skipped = Option<String>;

/// Whether customers kept coming while something went on.
#[derive(Debug)]
pub struct Served<'a> {
    customers: &'a Customers,
    seen: usize,
    missed: Option<&'static str>,
}

impl<'a> Served<'a> {
    pub fn since(customers: &'a Customers) -> Self {
        Self {
            customers,
            seen: customers.served(),
            missed: None,
        }
    }

    /// Notes `when`, if nobody was served since it was asked last.
    pub fn still_there(&mut self, when: &'static str) {
        let served = self.customers.served();
        if served == self.seen {
            self.missed.get_or_insert(when);
        }
        self.seen = served;
    }

    /// Nobody came at some time of it.
    pub fn gone(self) -> Skipped {
        self.missed.map(|when| format!("nobody came {when}"))
    }
}

impl Customers {
    pub fn new(client: Client, users: Users, seed: u64, run: &str, mix: Mix) -> Self {
        Self {
            client: Arc::new(RwLock::new(client)),
            notes: Arc::default(),
            users: Arc::new(users),
            seed,
            run: run.to_owned(),
            mix,
        }
    }

    /// Others who come to the same shop, told apart by `crowd`.
    #[must_use]
    pub fn others(&self, crowd: usize) -> Self {
        Self {
            run: format!("P{crowd}"),
            ..self.clone()
        }
    }

    /// Signs with the keys of now.
    pub fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From here on everybody signs with other keys.
    pub fn change_keys(&self, change: impl FnOnce(&mut Client)) {
        change(&mut self.client.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Requests of integrators and reports of M-Pesa that were answered.
    fn served(&self) -> usize {
        let notes = self.notes();
        notes.sent.intents.len() + notes.reports
    }

    pub fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These customers, `at_once` of them at a time, each when `door` lets them in.
    pub async fn come(
        &self,
        numbers: impl Iterator<Item = usize>,
        at_once: usize,
        door: impl AsyncFn(usize),
    ) -> Result<()> {
        let door = &door;
        stream::iter(numbers.map(Ok))
            .try_for_each_concurrent(at_once, |number| async move {
                door(number).await;
                let story = Story::of(self.seed, &self.run, number, &self.mix);
                self.act(&story).await.with_context(|| story.tx_ref.clone())
            })
            .await
    }

    async fn act(&self, story: &Story) -> Result<()> {
        let users = match story.habit {
            Habit::NotCompliant => &self.users.refused,
            _ => &self.users.good,
        };
        let user = &users[story.user % users.len()];
        if story.habit == Habit::PaysEarly {
            self.report(story).await?;
            return self.intend(story, user).await;
        }
        self.intend(story, user).await?;
        match story.habit {
            Habit::Repeats(times) => {
                try_join_all((0..times).map(|_| self.report(story))).await?;
                Ok(())
            }
            _ => self.report(story).await,
        }
    }

    async fn intend(&self, story: &Story, user: &str) -> Result<()> {
        let body = story.intent(user);
        let send = async || self.client().create(&story.key, &body).await;
        let reply = self.until_answered(201, send).await?;
        let id = reply.json()?["intentId"]
            .as_str()
            .context("no intentId")?
            .to_owned();
        let intent = SentIntent {
            tx_ref: story.tx_ref.clone(),
            user: user.to_owned(),
            shillings: story.shillings,
            wanted: story.wanted(),
        };
        self.notes().sent.intents.insert(id, intent);
        Ok(())
    }

    async fn report(&self, story: &Story) -> Result<()> {
        let (body, paid): (Value, _) = story.report()?;
        let send = async || self.client().callback(&body).await;
        self.until_answered(200, send).await?;
        let mut notes = self.notes();
        notes.reports += 1;
        if let Some(shillings) = paid {
            let tx_ref = story.tx_ref.clone();
            notes
                .sent
                .payments
                .insert(story.receipt.clone(), SentPayment { tx_ref, shillings });
        }
        Ok(())
    }

    /// What every client must do: the same again until there is an answer. A refusal of what is good is noted, once
    /// and for all: it would be refused again.
    async fn until_answered(&self, wanted: u16, send: impl AsyncFn() -> Result<Reply>) -> Result<Reply> {
        eventually(ANSWERED_WITHIN, "an answer", async || {
            let reply = match send().await {
                Ok(reply) if reply.status == wanted => return Ok(Some(Ok(reply))),
                Ok(reply) => reply,
                Err(error) => {
                    tokio::time::sleep(PAUSE).await;
                    return Err(error);
                }
            };
            if reply.status < 500 && !matches!(reply.status, 408 | 409 | 429) {
                let what = format!("{} {}", reply.status, reply.code().unwrap_or_default());
                *self.notes().refused.entry(what.clone()).or_default() += 1;
                return Ok(Some(Err(what)));
            }
            tokio::time::sleep(PAUSE).await;
            bail!("{}", reply.status)
        })
        .await?
        .map_err(|what| anyhow::anyhow!("a good request was refused: {what}"))
    }
}

/// Addresses that follow from the seed, so that a run can be read beside another of the same seed.
pub fn address(seed: u64, number: u64) -> String {
    let mut random = fastrand::Rng::with_seed(seed.rotate_left(17) ^ number);
    (0..20).fold("0x".to_owned(), |text, _| format!("{text}{:02x}", random.u8(1..)))
}

/// Makes them known to the chain, all within a block or two.
pub async fn users(app: &testkit::App, seed: u64, good: u64) -> Result<Users> {
    let users = Users {
        good: (0..good).map(|number| address(seed, number)).collect(),
        refused: (good..good + 2).map(|number| address(seed, number)).collect(),
    };
    evm::allow_all(&app.chain.url(), &app.addresses, &users.good).await?;
    Ok(users)
}
