//! The table on a real broker, and what each service's user can do there.

use messaging::{BrokerError, Outgoing, PublishError, Publisher, Service, WorkQueue, topology};
use testkit::Servers;

use crate::rig::{QUEUE, Rig, broker, one_by_one, quick_retry};

#[tokio::test(flavor = "multi_thread")]
async fn declaring_twice_changes_nothing_and_verify_finds_what_is_missing() {
    let vhost = Servers::shared().unwrap().vhost().await.unwrap();
    let ops = broker(&vhost.url(), Service::Ops);
    let missing = topology::verify(&ops).await.unwrap_err();
    assert!(matches!(missing, BrokerError::Missing { .. }), "{missing:?}");
    topology::declare_all(&ops).await.unwrap();
    topology::declare_all(&ops).await.unwrap();
    topology::verify(&ops).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_holds_the_arguments_of_the_table() {
    let rig = Rig::new().await;
    for spec in topology::queues() {
        let path = format!("queues/{}/{}", rig.vhost.name(), spec.name);
        let queue = rig.vhost.management().get(&path).await.unwrap();
        assert_eq!(queue["type"], "quorum", "{}", spec.name);
        assert_eq!(queue["durable"], true, "{}", spec.name);
        for (name, argument) in spec.arguments() {
            let held = &queue["arguments"][name];
            match argument {
                topology::Argument::Text(text) => assert_eq!(held, text, "{} {name}", spec.name),
                topology::Argument::Number(number) => assert_eq!(held, number, "{} {name}", spec.name),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn depths_count_what_waits() {
    let rig = Rig::new().await;
    rig.send_many(3).await;
    rig.until_ready(QUEUE.name(), 3).await;
    assert_eq!(rig.ready(QUEUE.dead_letter_name()).await, 0);
}

async fn limited(rig: &mut Rig, service: Service) -> messaging::Broker {
    let p = service.permissions();
    let url = rig
        .vhost
        .user(service.name(), &p.configure, &p.write, &p.read)
        .await
        .unwrap();
    broker(&url, service)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_can_check_the_topology_and_write_only_its_own_queues() {
    let mut rig = Rig::new().await;
    for service in [Service::Gateway, Service::MintExecutor, Service::Callback] {
        let broker = limited(&mut rig, service).await;
        topology::verify(&broker).await.unwrap();
        topology::depths(&broker).await.unwrap();
        let publisher = Publisher::new(&broker);
        for queue in WorkQueue::ALL {
            let id = rig.seal().message_id;
            let result = publisher.publish(Outgoing::work(queue, id, b"{}".to_vec())).await;
            if service.writes().contains(&queue) {
                assert_eq!(result, Ok(()), "{service:?} {queue}");
            } else {
                let unroutable = matches!(result, Err(PublishError::Unroutable { .. }));
                assert!(unroutable, "{service:?} {queue}: {result:?}");
            }
        }
        let refused = topology::declare_all(&broker).await.unwrap_err();
        assert!(matches!(refused, BrokerError::Amqp { .. }), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_gateway_cannot_use_the_operators_exchange() {
    let mut rig = Rig::new().await;
    let p = Service::Gateway.permissions();
    let url = rig
        .vhost
        .user("gateway", &p.configure, &p.write, &p.read)
        .await
        .unwrap();
    // The same credentials, claiming to be the operator.
    let broker = broker(&url, Service::Ops);
    let id = rig.seal().message_id;
    let result = Publisher::new(&broker)
        .publish(Outgoing::work(WorkQueue::MintExecute, id, b"{}".to_vec()))
        .await;
    assert!(matches!(result, Err(PublishError::Unknown(_))), "{result:?}");
    assert_eq!(rig.ready(WorkQueue::MintExecute.name()).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_executors_user_suffices_to_consume_retry_and_park() {
    use messaging::Disposition;
    let mut rig = Rig::new().await;
    let executor = limited(&mut rig, Service::MintExecutor).await;
    let parts = rig.parts_of(executor, quick_retry());
    let running = crate::rig::Running::start(parts, one_by_one(), |_| Disposition::retry("rpc", "no answer"));
    let id = rig.send().await;
    let parked = rig.parked(1).await;
    assert_eq!((parked[0].message_id, parked[0].attempts), (Some(id), 6));
    running.stop().await;
}
