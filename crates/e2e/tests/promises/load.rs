//! Clients that send without a pause: each creates an intent, repeats the request, and pays. Every answer that breaks a
//! promise is kept.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::ledger;
use parking_lot::{Mutex, RwLock};
use testkit::Client;
use testkit::app::App;
use testkit::client::{fresh_address, fresh_key, intent_body, paid_body};
use testkit::eventually;
use tokio::task::JoinHandle;

use crate::TIMEOUT;

const CLIENTS: usize = 4;
const SETTLED_WITHIN: Duration = Duration::from_secs(150);
/// Pause between two rounds of one client, so that the machine can also run everything else.
const PACE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct Shared {
    client: RwLock<Client>,
    user: String,
    prefix: &'static str,
    next: AtomicUsize,
    stop: AtomicBool,
    /// Finished rounds, by client.
    turns: Vec<AtomicUsize>,
    refused: Mutex<Vec<String>>,
}

#[derive(Debug)]
pub struct Load {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<()>>,
}

/// Number of clients started, and the supply before them.
pub async fn loaded(app: &App, prefix: &'static str) -> Result<(Load, u128)> {
    let user = fresh_address()?;
    app.make_compliant(&user).await?;
    let before = ledger::minted(app).await?;
    let load = Load::start(app.client()?, &user, prefix, CLIENTS);
    load.more_turns(2).await?;
    Ok((load, before))
}

impl Load {
    pub fn start(client: Client, user: &str, prefix: &'static str, clients: usize) -> Self {
        let shared = Arc::new(Shared {
            client: RwLock::new(client),
            user: user.to_owned(),
            prefix,
            next: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            turns: (0..clients).map(|_| AtomicUsize::new(0)).collect(),
            refused: Mutex::default(),
        });
        let clients = (0..clients)
            .map(|who| tokio::spawn(turns(shared.clone(), who)))
            .collect();
        Self { shared, clients }
    }

    /// Makes the clients use other secrets from their next round on; returns once all of them do.
    pub async fn switch(&self, change: impl FnOnce(&mut Client)) -> Result<()> {
        change(&mut self.shared.client.write());
        self.more_turns(2).await
    }

    /// Waits until every client has finished this many more rounds.
    pub async fn more_turns(&self, more: usize) -> Result<()> {
        let now = || -> Vec<usize> {
            self.shared
                .turns
                .iter()
                .map(|n| n.load(Ordering::SeqCst))
                .collect()
        };
        let wanted: Vec<usize> = now().into_iter().map(|n| n + more).collect();
        eventually(TIMEOUT, "the clients go on", async || {
            Ok(now()
                .iter()
                .zip(&wanted)
                .all(|(n, wanted)| n >= wanted)
                .then_some(()))
        })
        .await
    }

    /// Intents that were accepted and paid, and every unexpected answer.
    pub async fn end(self) -> Result<(usize, Vec<String>)> {
        self.shared.stop.store(true, Ordering::SeqCst);
        for client in self.clients {
            client.await.context("a client of the load panicked")?;
        }
        let refused = self.shared.refused.lock().clone();
        Ok((self.shared.next.load(Ordering::SeqCst), refused))
    }

    /// Stops the load and checks that no request was refused and that every accepted and paid intent is minted.
    pub async fn nothing_was_lost(self, app: &App, supply_before: u128) -> Result<()> {
        let (accepted, refused) = self.end().await?;
        ensure!(
            refused.is_empty(),
            "{} of {accepted} refused: {refused:#?}",
            refused.len()
        );
        ensure!(accepted >= CLIENTS * 4, "{accepted} requests are no load");
        eprintln!("{accepted} intents created, asked for again and paid; none refused");
        eventually(SETTLED_WITHIN, "everything that was paid is minted", async || {
            let done = app
                .database
                .sql("select count(*) from chain_legs where leg = 'executed' and final")?;
            ensure!(done == accepted.to_string(), "{done} of {accepted} are executed");
            Ok(Some(()))
        })
        .await?;
        ledger::balances(app, supply_before).await
    }
}

async fn turns(shared: Arc<Shared>, who: usize) {
    let mut next_turn = tokio::time::Instant::now();
    while !shared.stop.load(Ordering::SeqCst) {
        tokio::time::sleep_until(next_turn).await;
        next_turn += PACE;
        let client = shared.client.read().clone();
        let number = shared.next.fetch_add(1, Ordering::SeqCst);
        let tx_ref = format!("{}{number}", shared.prefix);
        if let Err(error) = turn(&client, &shared, number, &tx_ref).await {
            let mut refused = shared.refused.lock();
            refused.push(format!("{tx_ref}: {error:#}"));
        }
        shared.turns[who].fetch_add(1, Ordering::SeqCst);
    }
}

async fn turn(client: &Client, shared: &Shared, number: usize, tx_ref: &str) -> Result<()> {
    let (key, body) = (fresh_key()?, intent_body(&shared.user, 1, tx_ref));
    let first = client.create(&key, &body).await?;
    ensure!(first.status == 201, "create: {} {:?}", first.status, first.code());
    let again = client.create(&key, &body).await?;
    let same = again.status == 201 && again.body == first.body;
    ensure!(
        same,
        "the same request again: {} {:?}",
        again.status,
        again.code()
    );
    let report = paid_body(tx_ref, 1, &format!("{:.4}{number:06}", shared.prefix))?;
    let paid = client.callback(&report).await?;
    ensure!(paid.status == 200, "callback: {} {:?}", paid.status, paid.code());
    Ok(())
}
