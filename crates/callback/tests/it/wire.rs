//! The whole service as a process of tasks, over real messages.

use std::sync::Arc;
use std::time::Duration;

use callback::settings::CallbackSettings;
use domain::clock::{Clock, IdSource, SystemSource};
use domain::evidence::SignedReport;
use domain::ids::Preimage;
use messaging::wire::{Body, MintExecute, Outcome};
use messaging::{
    Broker, BrokerConfig, Consumer, ConsumerConfig, ConsumerParts, Delivery, Disposition, MessageMetadata,
    Opener, Publisher, Sealer, Service, WorkQueue, topology,
};
use runtime::lifecycle::LifecycleError;
use runtime::{Environment, KeyDirectory, Process, Stop};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use testkit::{Servers, Vhost, eventually};

use crate::rig::{Rig, mint_outcome, paid_body, result};

const SOON: Duration = Duration::from_secs(20);

fn broker(url: &str, service: Service) -> Broker {
    Broker::new(BrokerConfig {
        url: url.into(),
        service,
        version: "test".into(),
        ca_pem: None,
    })
    .unwrap()
}

/// Publishes as the service that owns the queue does.
async fn send<B: Body>(url: &str, service: Service, sealer: &Sealer, body: &B) {
    let stamp = MessageMetadata {
        message_id: SystemSource.message_id(),
        causation_id: None,
        at: SystemSource.now(),
        traceparent: None,
    };
    let message = sealer.seal(body, stamp).unwrap();
    Publisher::new(&broker(url, service))
        .publish(message.into())
        .await
        .unwrap();
}

/// The service over this broker, ready.
async fn start(rig: &Rig, amqp_url: &str) -> (Stop, JoinHandle<Result<(), LifecycleError>>) {
    let ready = tempfile::tempdir().unwrap();
    let ready_file = ready.path().join("ready.json");
    let environment: Environment = [
        ("DATABASE_URL", rig.database.login("callback").unwrap()),
        ("AMQP_URL", amqp_url.to_owned()),
        (
            "FIATRAILS_KEYS_DIR",
            rig.keys.dir("callback").display().to_string(),
        ),
        (
            "FIATRAILS_POLICY_FILE",
            concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/policy.json").into(),
        ),
        ("READY_FILE", ready_file.display().to_string()),
        ("RUST_LOG", "warn".into()),
    ]
    .into_iter()
    .collect();
    let settings: CallbackSettings = environment.read().unwrap();
    let mut process = Process::of(&settings).unwrap();
    callback::app::build(&settings, &mut process).unwrap();
    let stop = process.stop();
    let running = tokio::spawn(process.run_until_stopped());
    eventually(SOON, "the service is ready", async || {
        Ok(ready_file.exists().then_some(()))
    })
    .await
    .unwrap();
    (stop, running)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_full_queue_does_not_delay_other_queues() {
    let rig = Rig::start().await;
    let vhost = Servers::shared().unwrap().vhost().await.unwrap();
    topology::declare_all(&broker(&vhost.url(), Service::Ops))
        .await
        .unwrap();
    vhost.delete_queue("mint.refund.v1").await.unwrap();
    let push = "insert into callback_outbox (message_id, queue, subject, envelope) \
                select gen_random_uuid(), ";
    // More than one claim holds, and older.
    rig.database
        .sql(&format!(
            "{push} 'mint.refund.v1', 'T', '{{}}' from generate_series(1, 600)"
        ))
        .unwrap();
    rig.database
        .sql(&format!(
            "{push} 'mint.execute.v1', 'T', '{{}}' from generate_series(1, 3)"
        ))
        .unwrap();
    let (stop, running) = start(&rig, &vhost.url()).await;
    let waiting = "select string_agg(queue || ' ' || n, ',') from \
                   (select queue, count(*) as n from callback_outbox group by queue) as w";
    eventually(SOON, "the other queue got its messages", async || {
        Ok((rig.database.sql(waiting)? == "mint.refund.v1 600").then_some(()))
    })
    .await
    .unwrap();
    assert_eq!(vhost.peek("mint.execute.v1", 9).await.unwrap().len(), 3);

    topology::declare_all(&broker(&vhost.url(), Service::Ops))
        .await
        .unwrap();
    eventually(SOON, "the queue is back, and gets what waited", async || {
        Ok((rig.database.sql("select count(*) from callback_outbox")? == "0").then_some(()))
    })
    .await
    .unwrap();
    stop.soft();
    running.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn messages_in_become_one_sealed_execute_out() {
    let rig = Rig::start().await;
    let vhost = Servers::shared().unwrap().vhost().await.unwrap();
    topology::declare_all(&broker(&vhost.url(), Service::Ops))
        .await
        .unwrap();
    let (stop, running) = start(&rig, &vhost.url()).await;

    let everything = KeyDirectory::open(&rig.keys.dir("ops")).unwrap();
    let sealer = Sealer::new(everything.pipeline());
    let intent = rig.accepted("T1", 150).await;
    let signed = rig.sign(&paid_body("T1", "R1", 150));
    rig.stored(&signed, false).await;
    send_all(&vhost, &sealer, &signed, &intent).await;

    let done = CancellationToken::new();
    let (sender, mut executes) = mpsc::unbounded_channel();
    let consumer = consume_executes(&vhost, &everything, sender, done.clone());
    let execute = tokio::time::timeout(SOON, executes.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(execute.body.intent, intent);
    assert_eq!(execute.body.report.body, signed.body);
    assert!(execute.causation_id.is_some());

    eventually(SOON, "the forged report is parked", async || {
        let parked = vhost.peek(WorkQueue::MpesaResult.dead_letter_name(), 5).await?;
        Ok((parked.len() == 1).then_some(()))
    })
    .await
    .unwrap();
    eventually(SOON, "every report is handled", async || {
        let handled = rig.database.sql("select count(*) from callback_inbox")?;
        Ok((handled == "11").then_some(()))
    })
    .await
    .unwrap();
    assert!(executes.try_recv().is_err(), "one execute");
    done.cancel();
    consumer.await.unwrap();
    stop.soft();
    running.await.unwrap().unwrap();
    assert_eq!(
        rig.database.sql("select count(*) from callback_outbox").unwrap(),
        "0"
    );
}

/// Ten copies of the report, the escrow's outcome, and a forged report.
async fn send_all(vhost: &Vhost, sealer: &Sealer, signed: &SignedReport, intent: &Preimage) {
    for _ in 0..10 {
        let report = result(signed, false, None);
        send(&vhost.url(), Service::Gateway, sealer, &report).await;
    }
    let escrowed = mint_outcome(intent, Outcome::Escrowed, false, Some(3));
    send(&vhost.url(), Service::MintExecutor, sealer, &escrowed).await;
    let mut forged = signed.clone();
    forged.body = paid_body("T2", "R2", 150).into_bytes();
    let forged = result(&forged, false, None);
    send(&vhost.url(), Service::Gateway, sealer, &forged).await;
}

/// Plays the executor: hands on every execute that arrives, until `done`.
fn consume_executes(
    vhost: &Vhost,
    keys: &KeyDirectory,
    sender: mpsc::UnboundedSender<Delivery<MintExecute>>,
    done: CancellationToken,
) -> JoinHandle<()> {
    let broker = broker(&vhost.url(), Service::MintExecutor);
    let parts = ConsumerParts {
        publisher: Publisher::new(&broker),
        broker,
        opener: Opener::new(keys.pipeline()),
        retry: rig_policy().retry,
        clock: Arc::new(SystemSource),
    };
    let handler = move |batch: Vec<Delivery<MintExecute>>| {
        let sender = sender.clone();
        async move {
            let settled = vec![Disposition::Done; batch.len()];
            for delivery in batch {
                sender.send(delivery).unwrap();
            }
            settled
        }
    };
    tokio::spawn(async move {
        let gate = tokio::sync::watch::Sender::new(true);
        let consumer = Consumer::<MintExecute>::new(parts, ConsumerConfig::default());
        consumer.run(handler, gate.subscribe(), done).await;
    })
}

fn rig_policy() -> domain::policy::Policy {
    domain::policy::Policy::load(crate::rig::POLICY, []).unwrap()
}
