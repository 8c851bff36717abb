//! A gateway in this process, over its own database, virtual host and keys.

use std::time::Duration;

use gateway::settings::GatewaySettings;
use messaging::{Broker, BrokerConfig, Service, topology};
use reqwest::Method;
use reqwest::header::HeaderMap;
use runtime::{Environment, Process, Stop};
use serde_json::{Value, json};
use storage::{Pool, PoolConfig};
use tempfile::TempDir;
use testkit::keys::{INTEGRATOR, MPESA_KID, REQUEST_KID, random_hex};
use testkit::sign::{self, AnswerParts, RequestParts};
use testkit::{Database, DevKeys, Servers, Vhost, eventually};
use tokio::task::JoinHandle;

pub const SOON: Duration = Duration::from_secs(20);
pub const USER: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";
pub const ESCROW: &str = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
pub const TREASURY: &str = "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65";
pub const OTHER: &str = "acme";
pub const OTHER_KID: &str = "ik_acme_0001";

pub struct Rig {
    pub database: Database,
    pub vhost: Vhost,
    pub keys: DevKeys,
    _dir: TempDir,
    pub base: String,
    pub admin: String,
    pub http: reqwest::Client,
    pub stop: Stop,
    pub running: Option<JoinHandle<()>>,
    pub other_secret: String,
    env: Vec<(String, String)>,
}

impl Rig {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(extra: &[(&str, &str)]) -> Self {
        let servers = Servers::shared().unwrap();
        let (database, vhost) = (servers.database().await.unwrap(), servers.vhost().await.unwrap());
        let broker = Broker::new(BrokerConfig {
            url: vhost.url().into(),
            service: Service::Ops,
            version: "0".into(),
            ca_pem: None,
        });
        topology::declare_all(&broker.unwrap()).await.unwrap();
        let dir = tempfile::tempdir().unwrap();
        let keys = DevKeys::generate(&dir.path().join("keys")).unwrap();
        let other_secret = keys.add_integrator(OTHER, OTHER_KID).unwrap();
        database
            .sql(&format!(
                "insert into tx_ref_prefixes values ('', '{INTEGRATOR}'), ('ACME', '{OTHER}')"
            ))
            .unwrap();
        let policy = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/policy.json");
        let mut env: Vec<(String, String)> = [
            ("DATABASE_URL", database.login("gateway").unwrap()),
            ("AMQP_URL", vhost.url()),
            ("FIATRAILS_KEYS_DIR", keys.dir("gateway").display().to_string()),
            ("FIATRAILS_POLICY_FILE", policy.to_owned()),
            ("ESCROW_ADDRESS", ESCROW.to_owned()),
            ("TREASURY_ADDRESS", TREASURY.to_owned()),
            ("LISTEN_ADDR", "127.0.0.1:0".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into();
        env.extend(
            extra
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        );
        let mut rig = Self {
            database,
            vhost,
            keys,
            _dir: dir,
            base: String::new(),
            admin: String::new(),
            http: testkit::http::client().unwrap(),
            stop: Stop::new(),
            running: None,
            other_secret,
            env,
        };
        rig.start().await;
        rig
    }

    /// Starts it (again), with the same settings.
    pub async fn start(&mut self) {
        let environment: Environment = self.env.iter().cloned().collect();
        let settings: GatewaySettings = environment.read().unwrap();
        let mut process = Process::of(&settings).unwrap();
        let app = gateway::app::build(&settings, &mut process).unwrap();
        self.base = format!("http://{}", app.api);
        self.admin = format!("http://{}", process.addresses.addr("admin").unwrap());
        self.stop = process.stop();
        self.running = Some(tokio::spawn(async move {
            process.run_until_stopped().await.unwrap();
        }));
        let url = format!("{}/readyz", self.admin);
        eventually(SOON, "the gateway is ready", async || {
            let status = self.http.get(&url).send().await?.status();
            Ok(status.is_success().then_some(()))
        })
        .await
        .unwrap();
    }

    pub async fn end(&mut self) {
        self.stop.soft();
        if let Some(running) = self.running.take() {
            running.await.unwrap();
        }
    }

    pub fn set(&mut self, name: &str, value: &str) {
        self.env.retain(|(known, _)| known != name);
        self.env.push((name.to_owned(), value.to_owned()));
    }

    /// As the owner of the database.
    pub fn pool(&self) -> Pool {
        Pool::new(&PoolConfig::new(self.database.url().into(), "test")).unwrap()
    }

    pub fn sql(&self, sql: &str) -> String {
        self.database.sql(sql).unwrap()
    }

    pub fn count(&self, table: &str) -> u32 {
        self.sql(&format!("select count(*) from {table}"))
            .parse()
            .unwrap()
    }

    pub async fn metrics(&self) -> String {
        let url = format!("{}/metrics", self.admin);
        self.http.get(url).send().await.unwrap().text().await.unwrap()
    }

    /// A valid new intent, to be changed before it is sent.
    pub fn intent(&self, tx_ref: &str) -> Message {
        self.message("POST", "/mint-intents", &intent(tx_ref).to_string())
    }

    pub fn read(&self, id: &str) -> Message {
        let mut message = self.message("GET", &format!("/mint-intents/{id}"), "");
        message.key = None;
        message.content_type = None;
        message
    }

    pub fn callback(&self, body: &Value) -> Message {
        let mut message = self.message("POST", "/callbacks/mpesa", &body.to_string());
        message.key = None;
        message.mpesa = true;
        MPESA_KID.clone_into(&mut message.kid);
        message.secret.clone_from(&self.keys.mpesa_secret_hex);
        message
    }

    fn message(&self, method: &str, path: &str, body: &str) -> Message {
        Message {
            mpesa: false,
            kid: REQUEST_KID.to_owned(),
            secret: self.keys.request_secret_hex.clone(),
            timestamp: testkit::client::now().unwrap(),
            method: method.to_owned(),
            path: path.to_owned(),
            query: String::new(),
            key: Some(random_hex::<16>().unwrap()),
            body: body.as_bytes().to_vec(),
            content_type: Some("application/json".to_owned()),
            headers: Vec::new(),
        }
    }

    pub async fn send(&self, message: &Message) -> Reply {
        self.send_signed(message, &message.signature()).await
    }

    /// Sends `message` under a signature that may be another's.
    pub async fn send_signed(&self, message: &Message, signature: &str) -> Reply {
        let query = if message.query.is_empty() {
            String::new()
        } else {
            format!("?{}", message.query)
        };
        let url = format!("{}{}{query}", self.base, message.path);
        let method: Method = message.method.parse().unwrap();
        let mut request = self.http.request(method, url).body(message.body.clone());
        if !signature.is_empty() {
            request = request.header(message.signature_header(), signature);
        }
        request = request.header("X-Request-Timestamp", message.timestamp.to_string());
        if let Some(key) = &message.key {
            request = request.header("X-Idempotency-Key", key);
        }
        if let Some(content_type) = &message.content_type {
            request = request.header("Content-Type", content_type);
        }
        for (name, value) in &message.headers {
            request = request.header(name, value);
        }
        let response = request.send().await.unwrap();
        Reply {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.bytes().await.unwrap().to_vec(),
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.soft();
    }
}

/// One request, before it is signed.
#[derive(Clone, Debug)]
pub struct Message {
    pub mpesa: bool,
    pub kid: String,
    pub secret: String,
    pub timestamp: i64,
    pub method: String,
    pub path: String,
    pub query: String,
    pub key: Option<String>,
    pub body: Vec<u8>,
    pub content_type: Option<String>,
    pub headers: Vec<(String, String)>,
}

impl Message {
    pub fn signature(&self) -> String {
        let parts = RequestParts {
            kid: &self.kid,
            timestamp: self.timestamp,
            method: &self.method,
            path: &self.path,
            query: &self.query,
            idempotency_key: self.key.as_deref().unwrap_or_default(),
            body: &self.body,
        };
        let sign = if self.mpesa { sign::mpesa } else { sign::request };
        sign(&self.secret, &parts).unwrap()
    }

    fn signature_header(&self) -> &'static str {
        if self.mpesa {
            "X-Mpesa-Signature"
        } else {
            "X-Request-Signature"
        }
    }

    #[must_use]
    pub fn body(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self
    }

    #[must_use]
    pub fn field(self, name: &str, value: Value) -> Self {
        let mut body: Value = serde_json::from_slice(&self.body).unwrap();
        body[name] = value;
        self.body(&body)
    }

    #[must_use]
    pub fn by_other(mut self, rig: &Rig) -> Self {
        OTHER_KID.clone_into(&mut self.kid);
        self.secret.clone_from(&rig.other_secret);
        self
    }

    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        self.key = Some(key.to_owned());
        self
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("{}: {:?}", self.status, String::from_utf8_lossy(&self.body)))
    }

    pub fn text(&self, name: &str) -> String {
        self.json()[name].as_str().unwrap_or_default().to_owned()
    }

    /// Status and code, `201 ` for a success.
    pub fn summary(&self) -> String {
        format!("{} {}", self.status, self.text("code"))
    }

    /// The answer carries the signature that a client would compute.
    pub fn is_signed_for(&self, message: &Message) -> bool {
        let header = |name: &str| self.header(name).unwrap_or_default().to_owned();
        let answer = AnswerParts {
            kid: &message.kid,
            timestamp: &header("X-Response-Timestamp"),
            status: self.status,
            request_id: &header("X-Request-Id"),
            idempotency_key: message.key.as_deref().unwrap_or_default(),
            body: &self.body,
        };
        header("X-Response-Signature") == sign::response(&message.secret, &answer).unwrap()
    }
}

pub fn intent(tx_ref: &str) -> Value {
    json!({"user": USER, "amount": "150000000000000000000", "countryCode": "KES", "txRef": tx_ref})
}

pub fn paid(tx_ref: &str, shillings: u32, receipt: &str) -> Value {
    json!({"txRef": tx_ref, "amount": shillings.to_string(), "phone": "254708374149",
           "timestamp": 1_767_225_600, "receipt": receipt, "resultCode": 0})
}
