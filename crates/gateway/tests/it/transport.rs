//! Time-outs, sizes and TLS: what happens below a request.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::rig::Rig;

async fn raw(rig: &Rig, pieces: &[(&[u8], u64)]) -> String {
    let mut stream = TcpStream::connect(rig.base.trim_start_matches("http://"))
        .await
        .unwrap();
    for (piece, pause) in pieces {
        if stream.write_all(piece).await.is_err() {
            break;
        }
        testkit::wait::pause(Duration::from_millis(*pause)).await;
    }
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    // A connection with an unread body is ended by the watch on idle connections, after some 10 s.
    let _ = tokio::time::timeout(Duration::from_secs(25), read)
        .await
        .expect("the connection is closed");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_headers_are_timed_out() {
    let rig = Rig::with(&[("HTTP_HEADER_TIMEOUT_MS", "400")]).await;
    let head = raw(&rig, &[(b"POST /mint-intents HTTP/1.1\r\nHost: x\r\n", 0)]).await;
    assert!(head.starts_with("HTTP/1.1 408"), "{head}");
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_bodies_are_timed_out_and_a_drip_buys_no_time() {
    let rig = Rig::with(&[("HTTP_BODY_TIMEOUT_MS", "400")]).await;
    let body = raw(
        &rig,
        &[(
            b"POST /mint-intents HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
            0,
        )],
    )
    .await;
    assert!(
        body.starts_with("HTTP/1.1 408") && body.contains("request-timeout"),
        "{body}"
    );
    let drip: Vec<(&[u8], u64)> = std::iter::once((
        b"POST /callbacks/mpesa HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n".as_slice(),
        0,
    ))
    .chain((0..8).map(|_| (b"{".as_slice(), 120)))
    .collect();
    let body = raw(&rig, &drip).await;
    assert!(body.is_empty() || body.starts_with("HTTP/1.1 408"), "{body}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dripping_second_request_does_not_keep_its_connection() {
    let rig = Rig::with(&[("HTTP_HEADER_TIMEOUT_MS", "1000")]).await;
    let mut stream = TcpStream::connect(rig.base.trim_start_matches("http://"))
        .await
        .unwrap();
    stream
        .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = [0; 1024];
    let read = stream.read(&mut answer).await.unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"));
    // One byte of a second request each 200 ms, for ever.
    let started = tokio::time::Instant::now();
    stream.write_all(b"GET /livez HTTP/1.1\r\nX: ").await.unwrap();
    loop {
        let drip = stream.write_all(b"a").await;
        let closed = tokio::time::timeout(Duration::from_millis(200), stream.read(&mut answer)).await;
        if drip.is_err() || matches!(closed, Ok(Ok(0) | Err(_))) {
            break;
        }
        assert!(
            started.elapsed() < Duration::from_secs(25),
            "the connection is still open"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_that_grow_too_large_are_refused() {
    let rig = Rig::new().await;
    let chunk = format!("2000\r\n{}\r\n", " ".repeat(0x2000));
    let head = b"POST /mint-intents HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = raw(
        &rig,
        &[
            (head, 0),
            (chunk.as_bytes(), 0),
            (chunk.as_bytes(), 0),
            (chunk.as_bytes(), 100),
        ],
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 413") && answer.contains("body-too-large"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_requests_do_not_stop_it() {
    let rig = Rig::new().await;
    for rubbish in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..],
        b"GET\r\n\r\n",
        b"\r\n\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(rig.base.trim_start_matches("http://"))
            .await
            .unwrap();
        stream.write_all(rubbish).await.unwrap();
        drop(stream);
    }
    let huge = format!(
        "GET / HTTP/1.1\r\nHost: x\r\nX-Big: {}\r\n\r\n",
        "a".repeat(200_000)
    );
    let answer = raw(&rig, &[(huge.as_bytes(), 0)]).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    assert_eq!(rig.send(&rig.intent("TX1")).await.status, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_serves_the_configured_certificate_and_nothing_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let rig = Rig::with(&[
        ("TLS_CERT_FILE", certificate.to_str().unwrap()),
        ("TLS_KEY_FILE", key.to_str().unwrap()),
    ])
    .await;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_backend_preconfigured(tls)
        .build()
        .unwrap();
    let port = rig.base.rsplit(':').next().unwrap();
    let answer = client
        .get(format!("https://localhost:{port}/livez"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    let clear = rig.http.get(format!("{}/livez", rig.base)).send().await;
    assert!(clear.map_or(true, |answer| !answer.status().is_success()));
}

#[test]
fn the_committed_description_is_the_generated_one() {
    use utoipa::OpenApi as _;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let generated = gateway::ApiDescription::openapi().to_pretty_json().unwrap() + "\n";
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(file, &generated).unwrap();
    }
    let committed = std::fs::read_to_string(file).unwrap_or_default();
    assert!(
        committed == generated,
        "docs/openapi.json is not what the code says; run: UPDATE_OPENAPI=1 cargo nextest run -p gateway description"
    );
}
