//! The transport against small servers that misbehave on purpose.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::atomic::AtomicUsize;

use super::*;

/// Answers every request on every connection with `reply(body)`; counts the requests.
fn server(reply: impl Fn(&str) -> String + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let seen = count.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut buffer = vec![0; 64 * 1024];
            let mut read = 0;
            loop {
                let n = stream.read(&mut buffer[read..]).unwrap_or(0);
                read += n;
                let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
                if n == 0
                    || text
                        .split_once("\r\n\r\n")
                        .is_some_and(|(_, body)| body.ends_with('}'))
                {
                    break;
                }
            }
            seen.fetch_add(1, Ordering::SeqCst);
            let text = String::from_utf8_lossy(&buffer[..read]).into_owned();
            let body = text
                .split_once("\r\n\r\n")
                .map(|(_, body)| body.to_owned())
                .unwrap_or_default();
            let _ = stream.write_all(reply(&body).as_bytes());
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    (url, count)
}

fn id_of(body: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(body).unwrap()["id"]
        .as_u64()
        .unwrap()
}

fn http(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn good(body: &str) -> String {
    http(
        "200 OK",
        &format!(r#"{{"jsonrpc":"2.0","id":{},"result":"0x7ac6"}}"#, id_of(body)),
    )
}

fn transport(urls: &[&str], max: usize) -> Transport {
    let urls: Vec<SecretString> = urls.iter().map(|url| (*url).into()).collect();
    Transport::new(&urls, Duration::from_millis(400), max).unwrap()
}

async fn chain_id(transport: &Transport) -> Result<String, TransportError> {
    transport.request("eth_chainId", ()).await
}

#[tokio::test]
async fn no_parameters_are_sent_as_an_empty_list() {
    let (url, _) = server(|body| {
        assert_eq!(
            serde_json::from_str::<serde_json::Value>(body).unwrap()["params"],
            serde_json::json!([])
        );
        good(body)
    });
    assert_eq!(chain_id(&transport(&[&url], 1000)).await.unwrap(), "0x7ac6");
}

#[tokio::test]
async fn a_connection_that_breaks_off_is_tried_again_and_a_refusal_is_not() {
    let broken = Arc::new(AtomicUsize::new(0));
    let breaks = broken.clone();
    let (flaky, asked) = server(move |body| match breaks.fetch_add(1, Ordering::SeqCst) {
        0..4 => String::new(),
        _ => good(body),
    });
    let transport = transport(&[&flaky], 1000);
    assert_eq!(chain_id(&transport).await.unwrap(), "0x7ac6");
    assert_eq!(asked.load(Ordering::SeqCst), 5);

    let (dead, asked) = server(|_| String::new());
    let transport = self::transport(&[&dead], 1000);
    chain_id(&transport).await.unwrap_err();
    assert_eq!(asked.load(Ordering::SeqCst), 5, "and given up");

    let (busy, asked) = server(|_| http("429 Too Many Requests", "slowly"));
    let transport = self::transport(&[&busy], 1000);
    chain_id(&transport).await.unwrap_err();
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_unanswered_request_is_repeated_long_before_its_timeout() {
    // Accepts every connection and answers on every fourth only.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = asked.clone();
    tokio::spawn(async move {
        let mut silent = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            if seen.fetch_add(1, Ordering::SeqCst) % 4 < 3 {
                silent.push(stream);
            } else {
                reply(stream, good).await;
            }
        }
    });
    let transport = Transport::new(&[url.as_str().into()], MIN_RETRY_DELAY * RETRY_FRACTION, 1000).unwrap();
    let answer = tokio::time::timeout(MIN_RETRY_DELAY * 14, chain_id(&transport)).await;
    assert_eq!(answer.unwrap().unwrap(), "0x7ac6");
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

/// To one request.
async fn reply(mut stream: tokio::net::TcpStream, said: impl Fn(&str) -> String) {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut text = String::new();
    while !text.ends_with('}') {
        let mut buffer = [0; 1024];
        let n = stream.read(&mut buffer).await.unwrap();
        text.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    let body = text.split_once("\r\n\r\n").unwrap().1;
    stream.write_all(said(body).as_bytes()).await.unwrap();
}

#[tokio::test]
async fn a_slow_answer_counts_though_a_retry_was_rate_limited() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let seen = asked.clone();
    tokio::spawn(async move {
        let (slow, _) = listener.accept().await.unwrap();
        let (refused, _) = listener.accept().await.unwrap();
        seen.fetch_add(2, Ordering::SeqCst);
        reply(refused, |_| http("429 Too Many Requests", "slowly")).await;
        testkit::wait::pause(MIN_RETRY_DELAY * 3).await;
        reply(slow, good).await;
        while listener.accept().await.is_ok() {
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    let transport = Transport::new(&[url.as_str().into()], MIN_RETRY_DELAY * RETRY_FRACTION, 1000).unwrap();
    assert_eq!(chain_id(&transport).await.unwrap(), "0x7ac6");
    assert_eq!(
        asked.load(Ordering::SeqCst),
        2,
        "a rate-limited client sends no more"
    );
}

#[tokio::test]
async fn the_next_endpoint_is_asked_when_one_fails_and_the_failed_one_rests() {
    let (broken, asked) = server(|_| http("502 Bad Gateway", "no"));
    let (well, _) = server(good);
    let transport = transport(&["http://127.0.0.1:1", &broken, &well], 1000);
    for _ in 0..3 {
        assert_eq!(chain_id(&transport).await.unwrap(), "0x7ac6");
    }
    assert_eq!(
        asked.load(Ordering::SeqCst),
        1,
        "a failed endpoint is not asked again at once"
    );
}

/// Answers every request with this error.
fn refuses(code: i64, message: &'static str) -> (String, Arc<AtomicUsize>) {
    server(move |body| {
        let id = id_of(body);
        let answer = format!(r#"{{"id":{id},"error":{{"code":{code},"message":"{message}"}}}}"#);
        http("200 OK", &answer)
    })
}

#[tokio::test]
async fn a_request_one_node_cannot_answer_goes_to_the_next_each_time() {
    let (pruned, asked) = refuses(-32000, "missing trie node");
    let (well, _) = server(good);
    let transport = transport(&[&pruned, &well], 1000);
    for _ in 0..3 {
        assert_eq!(chain_id(&transport).await.unwrap(), "0x7ac6");
    }
    assert_eq!(
        asked.load(Ordering::SeqCst),
        3,
        "it stays first: it may answer other requests"
    );
}

#[tokio::test]
async fn a_proxy_without_backends_is_skipped_for_the_next_endpoint() {
    let (front, asked) = refuses(-32603, "no available upstream");
    let (well, _) = server(good);
    let transport = transport(&[&front, &well], 1000);
    for _ in 0..3 {
        assert_eq!(chain_id(&transport).await.unwrap(), "0x7ac6");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1, "it rests");
}

#[tokio::test]
async fn a_revert_or_refusal_is_an_answer_under_any_error_code() {
    for method in ["eth_call", "eth_estimateGas", "eth_sendRawTransaction"] {
        let (refuses, _) = refuses(-32603, "VM Exception: reverted");
        let (other, asked) = server(good);
        let transport = transport(&[&refuses, &other], 1000);
        let error = transport.request::<_, String>(method, ()).await.unwrap_err();
        assert!(matches!(error, TransportError::Node(_)), "{method}: {error}");
        assert_eq!(asked.load(Ordering::SeqCst), 0, "{method}");
    }
}

#[tokio::test]
async fn a_request_that_every_node_fails_ends_with_an_error_of_one() {
    let (front, _) = refuses(-32603, "internal error");
    let (busy, _) = refuses(-32011, "no backends available for method");
    let gone = "http://127.0.0.1:1";
    for urls in [
        &[&*front] as &[&str],
        &[&front, &busy],
        &[&front, gone],
        &[gone, &front],
    ] {
        let error = chain_id(&transport(urls, 1000)).await.unwrap_err();
        let said = error.to_string();
        assert!(
            matches!(error, TransportError::Node(_)) && said.contains("internal error"),
            "{urls:?}: {said}"
        );
    }
}

#[tokio::test]
async fn an_oversized_answer_and_a_silent_node_are_errors() {
    let (huge, _) = server(|_| http("200 OK", &"x".repeat(5000)));
    let error = chain_id(&transport(&[&huge], 1000)).await.unwrap_err();
    assert!(
        matches!(error, TransportError::Unavailable(EndpointFailure::TooLarge)),
        "{error}"
    );
    // Bound, but never accepted from.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", silent.local_addr().unwrap());
    let error = chain_id(&transport(&[&url], 1000)).await.unwrap_err();
    assert!(
        matches!(error, TransportError::Unavailable(EndpointFailure::Timeout)),
        "{error}"
    );
}

#[tokio::test]
async fn a_node_too_slow_for_its_caller_is_asked_last() {
    // Bound, but never accepted from.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("http://{}", silent.local_addr().unwrap());
    let (well, _) = server(good);
    let urls = [silent.as_str().into(), well.as_str().into()];
    let transport = Transport::new(&urls, Duration::from_mins(1), 1000).unwrap();
    let early = tokio::time::timeout(TOO_SLOW / 2, chain_id(&transport)).await;
    assert!(early.is_err());
    assert_eq!(
        transport.pinned_to_each().len(),
        2,
        "the caller gave it too little time"
    );
    let late = tokio::time::timeout(TOO_SLOW + TOO_SLOW / 10, chain_id(&transport)).await;
    assert!(late.is_err());
    let next = tokio::time::timeout(TOO_SLOW / 2, chain_id(&transport)).await;
    assert_eq!(next.unwrap().unwrap(), "0x7ac6");
}

#[tokio::test]
async fn an_endpoint_that_answers_but_lags_is_asked_last() {
    let (lags, asked) = server(good);
    let (well, _) = server(good);
    let transport = transport(&[&lags, &well], 1000);
    transport.set_statuses(&[EndpointStatus::Behind, EndpointStatus::InSync]);
    chain_id(&transport).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    assert_eq!(
        transport.pinned_to_each().len(),
        2,
        "it may still be asked by itself"
    );
    transport.set_statuses(&[EndpointStatus::OtherChain, EndpointStatus::InSync]);
    assert_eq!(
        transport.pinned_to_each().len(),
        1,
        "one on another chain may not be asked"
    );
    let alone = self::transport(&[&lags, "http://127.0.0.1:1"], 1000);
    alone.set_statuses(&[EndpointStatus::OtherChain, EndpointStatus::InSync]);
    chain_id(&alone).await.unwrap_err();
    assert_eq!(asked.load(Ordering::SeqCst), 0, "nor when the other fails");
    transport.set_statuses(&[EndpointStatus::InSync, EndpointStatus::InSync]);
    chain_id(&transport).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 1, "it has caught up");
}

#[tokio::test]
async fn a_pinned_transport_stays_with_its_endpoint() {
    let (well, _) = server(good);
    let pinned = transport(&["http://127.0.0.1:1", &well], 1000).pinned();
    assert!(
        chain_id(&pinned).await.is_err(),
        "it must not go on to the other one"
    );
}

#[test]
fn setup_problems_never_print_the_url() {
    let error = Transport::new(&["ftp://secret@host/token".into()], Duration::from_secs(1), 1).unwrap_err();
    assert!(
        !error.to_string().contains("secret") && !error.to_string().contains("token"),
        "{error}"
    );
    assert!(Transport::new(&[], Duration::from_secs(1), 1).is_err());
}
