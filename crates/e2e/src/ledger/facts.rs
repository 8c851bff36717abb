//! Everything the audit judges, gathered from the node, the rows, the broker and the sender's own notes.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;
use testkit::{
    App,
    escrow_events::{self, EscrowEvent},
    evm,
};

use super::minted;

/// The end that an intent must reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedResult {
    Minted,
    /// Paid, but the user is not compliant: the payer is owed.
    Refunded,
    /// Declined: the deposit goes back, or is never made.
    NotMinted,
    /// Held for a person.
    Held,
}

/// An intent whose 201 was received.
#[derive(Debug, Clone)]
pub struct SentIntent {
    pub tx_ref: String,
    pub user: String,
    pub shillings: u32,
    pub expected: ExpectedResult,
}

/// A paid report whose 200 was received.
#[derive(Debug, Clone)]
pub struct SentPayment {
    pub tx_ref: String,
    pub shillings: u32,
}

/// What was sent and acknowledged: intents by id, payments by receipt.
#[derive(Debug, Clone, Default)]
pub struct Sent {
    pub intents: BTreeMap<String, SentIntent>,
    pub payments: BTreeMap<String, SentPayment>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Intent {
    pub id: String,
    pub tx_ref: String,
}

#[derive(Debug, Clone, Deserialize)]
pub struct ChainLegRow {
    pub id: String,
    pub leg: String,
    pub is_final: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct DecisionCopy {
    pub tx_ref: String,
    pub chain_leg: String,
    pub chain_final: bool,
    pub live_command: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Payment {
    pub receipt: String,
    pub tx_ref: String,
    pub shillings: u64,
    pub is_first: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Exception {
    pub kind: String,
    pub tx_ref: String,
    pub receipt: Option<String>,
    pub is_hold: bool,
    pub open: bool,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Attempt {
    pub id: i64,
    pub signer: String,
    pub nonce: u64,
    pub tx_hash: String,
    pub fencing_token: i64,
}

#[derive(Debug, Clone, Deserialize)]
pub struct WorkItem {
    pub id: String,
    pub command: String,
    pub state: String,
    /// Transactions that failed with it.
    pub failures: u32,
    /// Nonces of the transactions that it was in; replacements share one.
    pub nonces: u32,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Signer {
    pub address: String,
    pub next_nonce: u64,
    /// Nonce of the account on chain.
    #[serde(default)]
    pub confirmed_nonce: u64,
}

/// Messages or work items that are left where nothing should be left at the end.
#[derive(Debug, Clone, Deserialize)]
pub struct Leftover {
    pub place: String,
    pub count: u64,
}

/// An entry of a dead-letter queue.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    pub queue: String,
    pub class: Option<String>,
    pub text: Option<String>,
    pub origin: Option<String>,
}

#[derive(Debug, Clone, Default)]
pub struct AuditFacts {
    pub sent: Sent,
    pub events: Vec<EscrowEvent>,
    /// The rise of the supply during the scenario, and the total of pending deposits in the escrow; base units.
    pub minted: u128,
    pub pending: u128,
    pub signers: Vec<Signer>,
    pub intents: Vec<Intent>,
    pub legs: Vec<ChainLegRow>,
    pub decisions: Vec<DecisionCopy>,
    pub payments: Vec<Payment>,
    pub exceptions: Vec<Exception>,
    pub attempts: Vec<Attempt>,
    pub items: Vec<WorkItem>,
    /// Stored reports without an outcome, by txRef.
    pub unprocessed_reports: Vec<String>,
    pub leftovers: Vec<Leftover>,
    pub dead_letters: Vec<DeadLetter>,
    /// Error classes of dead letters that the scenario explains.
    pub explained_classes: Vec<&'static str>,
    /// Number of messages published for a further attempt, counted on the connections to the broker.
    pub retried: u64,
    /// Only dependencies failed, so no command may have used up an attempt.
    pub only_outages: bool,
    /// No nonce was taken by somebody else, so no command may have needed a second one.
    pub one_nonce_per_command: bool,
}

const INTENTS: &str = "select '0x' || encode(intent_id, 'hex') id, tx_ref from mint_intents";
const LEGS: &str = "select '0x' || encode(intent_id, 'hex') id, leg, final is_final from chain_legs";
const DECISIONS: &str =
    "select tx_ref, chain_leg, chain_final, live_command from decisions where intent_id is not null";
const PAYMENTS: &str = "select receipt, tx_ref, amount_shillings::bigint shillings, is_first from payments";
const EXCEPTIONS: &str = "select kind, tx_ref, receipt, is_hold, resolved_at is null open from exceptions";
const ATTEMPTS: &str = "select id, '0x' || encode(signer, 'hex') signer, nonce,
    '0x' || encode(tx_hash, 'hex') tx_hash, fencing_token from attempts order by id";
const ITEMS: &str = "select '0x' || encode(w.intent_id, 'hex') id, command, state,
    (select count(*) from attempt_items t where t.message_id = w.message_id
     and t.outcome in ('out_of_gas', 'reverted', 'no_event')) failures,
    (select count(distinct (a.signer, a.nonce)) from attempt_items t join attempts a on a.id = t.attempt_id
     where t.message_id = w.message_id) nonces
    from work_items w";
const SIGNERS: &str = "select '0x' || encode(address, 'hex') address, next_nonce from signers";
const UNJUDGED: &str = "select r.tx_ref place, count(*) count from mpesa_reports r
    left join report_outcomes o using (report_id) where o.report_id is null group by 1";
const OUTBOXES: &str = "select * from (
      select 'gateway_outbox' place, count(*) count from gateway_outbox
      union all select 'callback_outbox', count(*) from callback_outbox
      union all select 'executor_outbox', count(*) from executor_outbox
      union all select 'ops_outbox', count(*) from ops_outbox
      union all select 'work_items ' || state, count(*) from work_items
        where state in ('ready', 'in_attempt') group by 1) all_places
    where count > 0";

impl AuditFacts {
    /// Gathers the rows and the chain as they are now. `supply_before`: base units at the start of the scenario.
    pub async fn gather(app: &App, sent: Sent, supply_before: u128) -> Result<Self> {
        let (rpc, escrow) = (app.chain.url(), &app.addresses.escrow);
        let mut signers: Vec<Signer> = rows(app, SIGNERS)?;
        for signer in &mut signers {
            signer.confirmed_nonce = evm::nonce(&rpc, &signer.address).await?;
        }
        let unprocessed_reports: Vec<Leftover> = rows(app, UNJUDGED)?;
        let (queued, dead_letters) = broker(app).await?;
        let mut leftovers: Vec<Leftover> = rows(app, OUTBOXES)?;
        leftovers.extend(queued);
        Ok(Self {
            sent,
            events: escrow_events::read(&rpc, escrow).await?,
            minted: minted(app).await? - supply_before,
            pending: evm::pending_total(&rpc, escrow).await?,
            signers,
            intents: rows(app, INTENTS)?,
            legs: rows(app, LEGS)?,
            decisions: rows(app, DECISIONS)?,
            payments: rows(app, PAYMENTS)?,
            exceptions: rows(app, EXCEPTIONS)?,
            attempts: rows(app, ATTEMPTS)?,
            items: rows(app, ITEMS)?,
            unprocessed_reports: unprocessed_reports
                .into_iter()
                .map(|report| report.place)
                .collect(),
            leftovers,
            dead_letters,
            explained_classes: Vec::new(),
            retried: 0,
            only_outages: false,
            one_nonce_per_command: false,
        })
    }
}

fn rows<T: DeserializeOwned>(app: &App, select: &str) -> Result<Vec<T>> {
    let json = app
        .database
        .sql(&format!("select coalesce(json_agg(r), '[]') from ({select}) r"))?;
    serde_json::from_str(&json).with_context(|| format!("rows of: {select}"))
}

/// Messages in work and delay queues, and every dead letter.
async fn broker(app: &App) -> Result<(Vec<Leftover>, Vec<DeadLetter>)> {
    let listed = format!("queues/{}", app.vhost.name());
    let listed = app.vhost.management().get(&listed).await?;
    let (mut leftovers, mut dead_letters) = (Vec::new(), Vec::new());
    for queue in listed.as_array().context("queues are a list")? {
        let place = queue["name"].as_str().context("a queue has a name")?.to_owned();
        let count = queue["messages"].as_u64().unwrap_or(0);
        if count == 0 {
            continue;
        }
        if place.starts_with("dead.") {
            let entries = app.vhost.peek(&place, 1000).await?;
            dead_letters.extend(entries.iter().map(|entry| dead_letter(&place, entry)));
        } else {
            leftovers.push(Leftover { place, count });
        }
    }
    Ok((leftovers, dead_letters))
}

fn dead_letter(queue: &str, entry: &Value) -> DeadLetter {
    let header = |name: &str| {
        entry["properties"]["headers"][name]
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    DeadLetter {
        queue: queue.to_owned(),
        class: header("x-fr-class"),
        text: header("x-fr-text"),
        origin: header("x-fr-origin-queue"),
    }
}
