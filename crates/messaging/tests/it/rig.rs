//! A virtual host with the topology declared, keys, and shorthands.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::clock::{IdSource, SystemSource};
use domain::ids::{MessageId, Preimage};
use domain::retry::RetryPolicy;
use domain::signature::HmacSecret;
use lapin::options::{BasicGetOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Connection, ConnectionProperties};
use messaging::consume::{Consumer, ConsumerConfig, ConsumerParts, Delivery, Disposition};
use messaging::dead_letters::{DeadLetter, DeadLetterAction, DeadLetters, MAX_PAGE, SettledDeadLetter};
use messaging::wire::MintSubmit;
use messaging::{
    Broker, BrokerConfig, MessageMetadata, Opener, Outgoing, PipelineKeys, Publisher, SealedMessage, Sealer,
    Service, SharedPipelineKeys, WorkQueue, topology,
};
use testkit::{Servers, Vhost, eventually};
use time::OffsetDateTime;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub const QUEUE: WorkQueue = WorkQueue::MintSubmit;
pub const SOON: Duration = Duration::from_secs(20);

pub struct Rig {
    pub vhost: Vhost,
    pub ops: Broker,
    pub publisher: Publisher,
    pub keys: SharedPipelineKeys,
    pub sealer: Sealer,
    pub opener: Opener,
    counter: AtomicU64,
}

pub fn broker(url: &str, service: Service) -> Broker {
    let config = BrokerConfig {
        url: url.into(),
        service,
        version: "9.9.9".into(),
        ca_pem: None,
    };
    Broker::new(config).unwrap()
}

pub fn keys(byte: u8, kid: &str) -> PipelineKeys {
    let secret = HmacSecret::from_bytes(&[byte; 32]).unwrap();
    WorkQueue::ALL
        .into_iter()
        .fold(PipelineKeys::new(), |keys, queue| {
            keys.with(queue, kid.parse().unwrap(), secret.clone())
        })
}

/// The policy's shape with waits short enough for a test.
pub fn quick_retry() -> RetryPolicy {
    RetryPolicy {
        max_attempts: 6,
        base_ms: 20,
        cap_ms: 40,
        seed: "fiatrails".into(),
    }
}

pub fn one_by_one() -> ConsumerConfig {
    ConsumerConfig {
        prefetch: 10,
        max_batch: 1,
        linger: Duration::ZERO,
    }
}

impl Rig {
    pub async fn new() -> Self {
        let vhost = Servers::shared().unwrap().vhost().await.unwrap();
        let ops = broker(&vhost.url(), Service::Ops);
        topology::declare_all(&ops).await.unwrap();
        let keys = SharedPipelineKeys::new(keys(1, "k1"));
        let (sealer, opener) = (Sealer::new(keys.clone()), Opener::new(keys.clone()));
        Self {
            publisher: Publisher::new(&ops),
            vhost,
            ops,
            keys,
            sealer,
            opener,
            counter: AtomicU64::new(1),
        }
    }

    pub fn body(&self) -> MintSubmit {
        let n = self.counter.fetch_add(1, Ordering::Relaxed);
        MintSubmit {
            intent: Preimage {
                chain_id: 31430,
                escrow: "0x5FbDB2315678afecb367f032d93F642f64180aa3".parse().unwrap(),
                depositor: "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65".parse().unwrap(),
                user: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse().unwrap(),
                amount: "1000000000000000000".parse().unwrap(),
                country_code: "KES".parse().unwrap(),
                tx_ref: format!("TX{n}").parse().unwrap(),
            },
            integrator: "acme".parse().unwrap(),
            accepted_at: 1_767_225_600,
        }
    }

    pub fn seal_as(&self, message_id: MessageId) -> SealedMessage {
        let metadata = MessageMetadata {
            message_id,
            causation_id: None,
            at: now(),
            traceparent: Some(TRACEPARENT.into()),
        };
        self.sealer.seal(&self.body(), metadata).unwrap()
    }

    pub fn seal(&self) -> SealedMessage {
        self.seal_as(SystemSource.message_id())
    }

    /// Puts one sealed message on the queue; returns its id.
    pub async fn send(&self) -> MessageId {
        let message = self.seal();
        let id = message.message_id;
        self.publisher.publish(message.into()).await.unwrap();
        id
    }

    pub async fn send_many(&self, count: usize) -> Vec<MessageId> {
        let messages: Vec<_> = (0..count).map(|_| self.seal()).collect();
        let ids = messages.iter().map(|m| m.message_id).collect();
        let results = self
            .publisher
            .publish_many(messages.into_iter().map(Outgoing::from).collect())
            .await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        ids
    }

    /// With another attempt hint than sealing gives.
    pub async fn send_attempt(&self, message_id: MessageId, attempt: u32) {
        let mut value: serde_json::Value = serde_json::from_slice(&self.seal_as(message_id).bytes).unwrap();
        value["attempt"] = attempt.into();
        let bytes = serde_json::to_vec(&value).unwrap();
        self.publisher
            .publish(Outgoing::work(QUEUE, message_id, bytes))
            .await
            .unwrap();
    }

    pub fn parts(&self, retry: RetryPolicy) -> ConsumerParts {
        let broker = broker(&self.vhost.url(), Service::MintExecutor);
        self.parts_of(broker, retry)
    }

    pub fn parts_of(&self, broker: Broker, retry: RetryPolicy) -> ConsumerParts {
        let publisher = Publisher::new(&broker);
        ConsumerParts {
            broker,
            publisher,
            opener: self.opener.clone(),
            retry,
            clock: Arc::new(SystemSource),
        }
    }

    pub fn dead(&self) -> DeadLetters {
        DeadLetters {
            broker: self.ops.clone(),
            publisher: self.publisher.clone(),
            opener: self.opener.clone(),
            sealer: self.sealer.clone(),
            clock: Arc::new(SystemSource),
        }
    }

    pub async fn ready(&self, queue: &str) -> u32 {
        let depths = topology::depths(&self.ops).await.unwrap();
        depths.into_iter().find(|d| d.queue == queue).unwrap().ready
    }

    pub async fn until_ready(&self, queue: &str, count: u32) {
        eventually(SOON, &format!("{queue} holds {count}"), async || {
            let ready = self.ready(queue).await;
            anyhow::ensure!(ready == count, "it holds {ready}");
            Ok(Some(()))
        })
        .await
        .unwrap();
    }

    /// The first `count` parked entries, once there are as many.
    pub async fn parked(&self, count: u32) -> Vec<DeadLetter> {
        self.until_ready(QUEUE.dead_letter_name(), count).await;
        let limit = usize::try_from(count).unwrap();
        self.dead().browse(QUEUE, limit).await.unwrap()
    }

    /// Goes through the whole dead queue and does what `decide` says to each entry.
    pub async fn settle_all(
        &self,
        decide: impl FnMut(&DeadLetter) -> DeadLetterAction,
    ) -> Vec<SettledDeadLetter> {
        self.settle_pages(usize::MAX, decide).await
    }

    /// The same with at most so many pages of the dead queue.
    pub async fn settle_pages(
        &self,
        most: usize,
        mut decide: impl FnMut(&DeadLetter) -> DeadLetterAction,
    ) -> Vec<SettledDeadLetter> {
        let dead = self.dead();
        let mut cursor = dead.cursor(QUEUE).await.unwrap();
        let mut settled = Vec::new();
        for _ in 0..most {
            let page = cursor.next_page(MAX_PAGE).await.unwrap();
            if page.is_empty() {
                break;
            }
            let decided = page
                .into_iter()
                .map(|held| {
                    let action = decide(&held.entry);
                    (held, action)
                })
                .collect();
            settled.extend(cursor.settle(decided).await.unwrap());
        }
        cursor.finish().await.unwrap();
        settled
    }

    /// A channel past all of our code, as a broker's owner would use.
    pub async fn raw(&self) -> (Connection, Channel) {
        let connection = Connection::connect(&self.vhost.url(), ConnectionProperties::default())
            .await
            .unwrap();
        let channel = connection.create_channel().await.unwrap();
        channel
            .confirm_select(ConfirmSelectOptions::default())
            .await
            .unwrap();
        (connection, channel)
    }

    pub async fn forge(&self, exchange: &str, payload: &[u8], properties: BasicProperties) {
        let (_connection, channel) = self.raw().await;
        let options = BasicPublishOptions {
            mandatory: true,
            ..Default::default()
        };
        let sent = channel
            .basic_publish(exchange.into(), QUEUE.name().into(), options, payload, properties)
            .await;
        let confirm = sent.unwrap().await.unwrap();
        assert!(confirm.is_ack() && confirm.take_message().is_none());
    }

    pub async fn get(&self, queue: &str) -> Option<lapin::message::BasicGetMessage> {
        let (_connection, channel) = self.raw().await;
        channel
            .basic_get(queue.into(), BasicGetOptions::default())
            .await
            .unwrap()
    }
}

pub const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

pub fn now() -> OffsetDateTime {
    use domain::clock::Clock;
    SystemSource.now()
}

/// A consumer whose handler hands every batch to the test and answers what the test sends back.
pub struct Running {
    pub batches: mpsc::UnboundedReceiver<Vec<Delivery<MintSubmit>>>,
    pub gate: watch::Sender<bool>,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<()>,
}

impl Running {
    /// `answer` decides per delivery.
    pub fn start<A>(parts: ConsumerParts, config: ConsumerConfig, answer: A) -> Self
    where
        A: Fn(&Delivery<MintSubmit>) -> Disposition + Send + Sync + 'static,
    {
        let (seen, batches) = mpsc::unbounded_channel();
        let (gate, gate_rx) = watch::channel(true);
        let shutdown = CancellationToken::new();
        let answer = Arc::new(answer);
        let handler = move |batch: Vec<Delivery<MintSubmit>>| {
            let (seen, answer) = (seen.clone(), answer.clone());
            async move {
                // Seen first: a test wants to know of a batch whose handling panics.
                let _ = seen.send(batch.clone());
                batch.iter().map(|d| answer(d)).collect()
            }
        };
        let task = tokio::spawn(Consumer::new(parts, config).run(handler, gate_rx, shutdown.clone()));
        Self {
            batches,
            gate,
            shutdown,
            task,
        }
    }

    pub async fn next(&mut self) -> Vec<Delivery<MintSubmit>> {
        tokio::time::timeout(SOON, self.batches.recv())
            .await
            .expect("a batch in time")
            .expect("a consumer")
    }

    pub async fn stop(self) {
        self.shutdown.cancel();
        tokio::time::timeout(SOON, self.task)
            .await
            .expect("a drained consumer")
            .unwrap();
    }
}
