//! One database, the service's tools with the service's own rights, and hands to play gateway and executor.

use std::sync::Arc;

use callback::{AppState, outcome, report};
use domain::clock::{Clock, IdSource, SystemSource};
use domain::evidence::SignedReport;
use domain::ids::{MessageId, Preimage};
use domain::payment::PaymentReport;
use domain::policy::{Policy, WindowPolicy};
use domain::signature::{HmacSecret, KeyId, Mac, SignedRequest, SigningScheme};
use messaging::wire::{MintExecute, MintOutcome, MintRefund, MpesaResult, Outcome, RefundReason};
use messaging::{Delivery, Disposition, Opener, Sealer, WorkQueue};
use runtime::KeyDirectory;
use runtime::relay::RelayNotifier;
use storage::gateway::intents::MintIntent;
use storage::gateway::reports::NewReport;
use storage::{Pool, PoolConfig};
use testkit::keys::MPESA_KID;
use testkit::{Database, DevKeys, Servers};

pub const POLICY: &str = include_str!("../../../../deploy/policy.json");

pub struct Rig {
    pub database: Database,
    pub state: Arc<AppState>,
    pub keys: DevKeys,
    pub all: Pool,
    opener: Opener,
    _dir: tempfile::TempDir,
}

/// What the service commanded, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Execute(String),
    Refund(String, RefundReason),
}

pub fn execute(tx_ref: &str) -> Command {
    Command::Execute(tx_ref.into())
}

pub fn refund(tx_ref: &str, reason: RefundReason) -> Command {
    Command::Refund(tx_ref.into(), reason)
}

impl Rig {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(edit: impl FnOnce(&mut WindowPolicy)) -> Self {
        let database = Servers::shared().unwrap().database().await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let keys = DevKeys::generate(dir.path()).unwrap();
        let mut windows = Policy::load(POLICY, []).unwrap().windows;
        edit(&mut windows);
        // The service's own login: what it may not do fails here.
        let pool = PoolConfig::new(database.login("callback").unwrap().into(), "callback");
        let all = PoolConfig::new(database.url().into(), "test");
        let own = KeyDirectory::open(&keys.dir("callback")).unwrap();
        let state = AppState {
            pool: Pool::new(&pool).unwrap(),
            sealer: Sealer::new(own.pipeline()),
            keys: own.clone(),
            ids: Arc::new(SystemSource),
            clock: Arc::new(SystemSource),
            windows,
            relay: RelayNotifier::default(),
        };
        Self {
            all: Pool::new(&all).unwrap(),
            state: Arc::new(state),
            opener: Opener::new(own.pipeline()),
            database,
            keys,
            _dir: dir,
        }
    }

    pub fn preimage(tx_ref: &str, shillings: u64) -> Preimage {
        Preimage {
            chain_id: 31430,
            escrow: "0x5FbDB2315678afecb367f032d93F642f64180aa3".parse().unwrap(),
            depositor: "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65".parse().unwrap(),
            user: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse().unwrap(),
            amount: domain::money::Shillings::new(shillings).to_base_units(),
            country_code: domain::country::CountryCode::KES,
            tx_ref: tx_ref.parse().unwrap(),
        }
    }

    /// The gateway accepted an intent.
    pub async fn accepted(&self, tx_ref: &str, shillings: u64) -> Preimage {
        let preimage = Self::preimage(tx_ref, shillings);
        let row = MintIntent {
            intent_id: preimage.intent_id(),
            preimage: preimage.clone(),
            integrator: "dev".parse().unwrap(),
            idempotency_key: format!("key-for-{tx_ref:_<16}").parse().unwrap(),
            trace_parent: None,
            created_at: SystemSource.now(),
            mac_key_id: "sk".parse().unwrap(),
            mac: Mac::from_bytes([0; 32]),
        };
        let client = self.all.get().await.unwrap();
        storage::gateway::intents::insert_batch(&client, &[&row])
            .await
            .unwrap();
        preimage
    }

    /// Signs a report as M-Pesa does.
    pub fn sign(&self, body: &str) -> SignedReport {
        sign_as(MPESA_KID, &self.keys.mpesa_secret_hex, body)
    }

    /// The gateway stored a report.
    pub async fn stored(&self, signed: &SignedReport, late: bool) {
        let parsed = PaymentReport::parse(&signed.body).unwrap();
        let header: domain::signature::SignatureHeader = signed.signature.parse().unwrap();
        let row = NewReport {
            content_hash: parsed.content_hash(),
            parsed,
            key_id: header.key_id,
            late,
            received_at: SystemSource.now(),
            signed: signed.clone(),
        };
        let client = self.all.get().await.unwrap();
        storage::gateway::reports::insert_batch(&client, &[&row])
            .await
            .unwrap();
    }

    pub async fn paid(&self, tx_ref: &str, receipt: &str, shillings: u64) -> Disposition {
        let signed = self.sign(&paid_body(tx_ref, receipt, shillings));
        self.stored(&signed, false).await;
        self.report(&signed).await
    }

    pub async fn declined(&self, tx_ref: &str) -> Disposition {
        let signed = self.sign(&declined_body(tx_ref));
        self.stored(&signed, false).await;
        self.report(&signed).await
    }

    /// A report's message arrives.
    pub async fn report(&self, signed: &SignedReport) -> Disposition {
        self.report_as(signed, false, None).await
    }

    pub async fn report_as(
        &self,
        signed: &SignedReport,
        late: bool,
        accepted_by: Option<&str>,
    ) -> Disposition {
        let delivery = delivery(SystemSource.message_id(), result(signed, late, accepted_by));
        handled(report::handle(self.state.clone(), Arc::new(delivery)).await)
    }

    /// An outcome's message arrives.
    pub async fn handle_outcome(
        &self,
        intent: &Preimage,
        outcome: Outcome,
        is_final: bool,
        block: u64,
    ) -> Disposition {
        let delivery = delivery(
            SystemSource.message_id(),
            mint_outcome(intent, outcome, is_final, Some(block)),
        );
        handled(outcome::handle(self.state.clone(), Arc::new(delivery)).await)
    }

    pub async fn escrowed(&self, intent: &Preimage) {
        assert_eq!(
            self.handle_outcome(intent, Outcome::Escrowed, false, 10).await,
            Disposition::Done
        );
    }

    /// Every command in the outbox, opened with the service's own keys.
    pub async fn commands(&self) -> Vec<Command> {
        let client = self.all.get().await.unwrap();
        let rows = client
            .query("select queue, envelope from callback_outbox order by id", &[])
            .await
            .unwrap();
        rows.iter()
            .map(|row| {
                let queue: WorkQueue = row.get::<_, &str>("queue").parse().unwrap();
                let opened = self.opener.open(queue, row.get("envelope")).unwrap();
                if queue == WorkQueue::MintExecute {
                    let body: MintExecute = opened.body().unwrap();
                    Command::Execute(body.intent.tx_ref.to_string())
                } else {
                    let body: MintRefund = opened.body().unwrap();
                    Command::Refund(body.intent.tx_ref.to_string(), body.reason)
                }
            })
            .collect()
    }

    /// `chain|payment|live command`.
    pub fn decision(&self, tx_ref: &str) -> String {
        let sql =
            "select chain_leg || '|' || payment_leg || '|' || coalesce(live_command, '') from decisions";
        self.database
            .sql(&format!("{sql} where tx_ref = '{tx_ref}'"))
            .unwrap()
    }

    /// Open exceptions, `kind receipt amount`.
    pub fn exceptions(&self, tx_ref: &str) -> Vec<String> {
        let sql = "select kind || ' ' || coalesce(receipt, '-') || ' ' || coalesce(amount_shillings::text, '-') \
                   from exceptions where resolved_at is null and tx_ref =";
        let text = self
            .database
            .sql(&format!("{sql} '{tx_ref}' order by kind, receipt"))
            .unwrap();
        text.lines().map(str::to_owned).collect()
    }

    pub fn outcome_of(&self, signed: &SignedReport) -> String {
        let id = signed.report_id;
        self.database
            .sql(&format!(
                "select outcome from report_outcomes where report_id = '{id}'"
            ))
            .unwrap()
    }

    /// Lets time pass: every stored time moves into the past.
    pub fn age(&self, seconds: u64) {
        let ago = format!("interval '{seconds} seconds'");
        self.database
            .sql(&format!(
                "update mint_intents set created_at = created_at - {ago}; \
                 update mpesa_reports set received_at = received_at - {ago}; \
                 update payments set received_at = received_at - {ago}, processed_at = processed_at - {ago}; \
                 update chain_legs set updated_at = updated_at - {ago}; \
                 update decisions set updated_at = updated_at - {ago}, live_since = live_since - {ago}"
            ))
            .unwrap();
    }

    /// The relay sent what there was.
    pub fn relayed(&self) {
        self.database.sql("delete from callback_outbox").unwrap();
    }
}

pub fn handled(result: Result<Disposition, callback::state::HandlerError>) -> Disposition {
    result.unwrap_or_else(|error| error.disposition())
}

pub fn sign_as(kid: &str, secret_hex: &str, body: &str) -> SignedReport {
    let key_id: KeyId = kid.parse().unwrap();
    let timestamp = SystemSource.unix_seconds().to_string();
    let request = SignedRequest {
        scheme: SigningScheme::Mpesa,
        key_id: &key_id,
        timestamp: &timestamp,
        method: "POST",
        path: "/callbacks/mpesa",
        query: "",
        idempotency_key: "",
        body: body.as_bytes(),
    };
    let signature = request
        .sign(&HmacSecret::from_hex(secret_hex).unwrap())
        .to_string();
    SignedReport {
        report_id: SystemSource.report_id(),
        body: body.as_bytes().to_vec(),
        signature,
        path: "/callbacks/mpesa".into(),
        query: String::new(),
        received_at: SystemSource.unix_seconds() * 1000,
        timestamp,
    }
}

pub fn paid_body(tx_ref: &str, receipt: &str, shillings: u64) -> String {
    format!(
        r#"{{"txRef":"{tx_ref}","amount":"{shillings}","phone":"254708374149","timestamp":1767225600,"receipt":"{receipt}","resultCode":0}}"#
    )
}

pub fn declined_body(tx_ref: &str) -> String {
    format!(
        r#"{{"txRef":"{tx_ref}","amount":"150","phone":"254708374149","timestamp":1767225600,"resultCode":1032}}"#
    )
}

pub fn result(signed: &SignedReport, late: bool, accepted_by: Option<&str>) -> MpesaResult {
    MpesaResult {
        report: signed.clone(),
        late,
        accepted_by: accepted_by.map(str::to_owned),
    }
}

pub fn mint_outcome(intent: &Preimage, outcome: Outcome, is_final: bool, block: Option<u64>) -> MintOutcome {
    MintOutcome {
        intent: intent.clone(),
        outcome,
        r#final: is_final,
        sequence: block.unwrap_or_default(),
        tx_hash: None,
        block_number: block,
        reason: None,
    }
}

pub fn delivery<B>(message_id: MessageId, body: B) -> Delivery<B> {
    Delivery {
        body,
        message_id,
        causation_id: None,
        intent_id: None,
        attempt: 1,
        first_seen: SystemSource.now(),
        traceparent: None,
        redelivered: false,
        sealed: Vec::new(),
    }
}
