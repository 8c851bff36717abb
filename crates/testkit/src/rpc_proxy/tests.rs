use super::*;
use std::sync::atomic::{AtomicU32, Ordering};

/// A node that counts what reaches it.
async fn node() -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let counted = counted.clone();
            let service = service_fn(move |_: Request<Incoming>| {
                counted.fetch_add(1, Ordering::SeqCst);
                async { Ok::<_, Lost>(answer(StatusCode::OK, r#"{"id":1,"result":"0x1"}"#.into())) }
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (url, asked)
}

async fn asks(proxy: &RpcProxy, method: &str) -> Result<Value> {
    crate::http::rpc(&proxy.url(), method, json!([])).await
}

#[tokio::test]
async fn a_lost_request_never_reaches_the_node_and_a_lost_answer_does() {
    let (url, asked) = node().await;
    let proxy = RpcProxy::start(&url, 1).await.unwrap();
    assert_eq!(asks(&proxy, "eth_chainId").await.unwrap(), "0x1");
    proxy.set(FaultRates {
        lose_request: 1000,
        ..FaultRates::default()
    });
    assert!(asks(&proxy, "eth_chainId").await.is_err());
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    proxy.set(FaultRates {
        lose_answer: 1000,
        ..FaultRates::default()
    });
    assert!(asks(&proxy, "eth_chainId").await.is_err());
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn only_transactions_get_false_errors() {
    let (url, asked) = node().await;
    let proxy = RpcProxy::start(&url, 1).await.unwrap();
    proxy.set(FaultRates {
        false_error: 1000,
        ..FaultRates::default()
    });
    assert_eq!(asks(&proxy, "eth_chainId").await.unwrap(), "0x1");
    for _ in 0..20 {
        let false_error = format!("{:#}", asks(&proxy, SEND).await.unwrap_err());
        assert!(
            false_errors::ALL.iter().any(|text| false_error.contains(text)),
            "{false_error}"
        );
    }
    let heard = asked.load(Ordering::SeqCst) - 1;
    assert!(
        heard > 0 && heard < 20,
        "some after the node acted, some instead: {heard}"
    );
}

#[tokio::test]
async fn a_held_request_has_not_reached_the_node_and_a_held_answer_has() {
    let (url, asked) = node().await;
    let proxy = RpcProxy::start(&url, 1).await.unwrap();
    for (side, heard) in [(Side::Request, 0), (Side::Answer, 1)] {
        asked.store(0, Ordering::SeqCst);
        let mut held = proxy.hold(SEND, side, 1);
        asks(&proxy, SEND).await.unwrap();
        asked.store(0, Ordering::SeqCst);
        let asking = async {
            assert!(asks(&proxy, SEND).await.is_err(), "no answer ever comes");
        };
        let looking = async {
            held.caught().await.unwrap();
            assert_eq!(asks(&proxy, "eth_chainId").await.unwrap(), "0x1", "others pass");
            assert_eq!(asked.load(Ordering::SeqCst), heard + 1);
            drop(held);
        };
        tokio::join!(asking, looking);
    }
}

#[tokio::test]
async fn a_held_request_may_be_released() {
    let (url, _) = node().await;
    let proxy = RpcProxy::start(&url, 1).await.unwrap();
    let mut held = proxy.hold(SEND, Side::Answer, 0);
    let letting = async {
        held.caught().await.unwrap();
        held.pass();
    };
    let (answer, ()) = tokio::join!(asks(&proxy, SEND), letting);
    assert_eq!(answer.unwrap(), "0x1");
}

#[tokio::test]
async fn nothing_passes_while_the_node_is_not_reachable() {
    let (url, asked) = node().await;
    let proxy = RpcProxy::start(&url, 1).await.unwrap();
    proxy.reach(Reachability::Down);
    assert!(asks(&proxy, "eth_chainId").await.is_err());
    proxy.reach(Reachability::Silent);
    let asking = asks(&proxy, "eth_chainId");
    assert!(
        tokio::time::timeout(Duration::from_millis(100), asking)
            .await
            .is_err()
    );
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    proxy.reach(Reachability::Open);
    assert_eq!(asks(&proxy, "eth_chainId").await.unwrap(), "0x1");
}
