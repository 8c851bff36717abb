use std::time::Duration;

use super::*;

async fn echo_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.ok();
            });
        }
    });
    addr
}

async fn echoes(stream: &mut TcpStream) -> bool {
    let talk = async {
        stream.write_all(b"x").await?;
        stream.read_exact(&mut [0]).await
    };
    matches!(
        tokio::time::timeout(Duration::from_millis(300), talk).await,
        Ok(Ok(_))
    )
}

#[tokio::test]
async fn passes_stalls_and_goes_on() {
    let proxy = ChaosProxy::start(echo_server().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(echoes(&mut stream).await);
    proxy.stall();
    assert!(!echoes(&mut stream).await);
    proxy.resume();
    let mut late = [0];
    stream.read_exact(&mut late).await.unwrap();
    assert!(echoes(&mut stream).await);
}

#[tokio::test]
async fn a_cut_ends_open_connections_and_refuses_new_ones_until_resumed() {
    let proxy = ChaosProxy::start(echo_server().await).await.unwrap();
    let mut open = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(echoes(&mut open).await);
    proxy.cut();
    assert!(!matches!(open.read(&mut [0]).await, Ok(1..)));
    let mut fresh = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(!echoes(&mut fresh).await);
    proxy.resume();
    let mut mended = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(echoes(&mut mended).await);
}

#[tokio::test]
async fn bytes_sent_after_a_cut_do_not_arrive_though_the_relay_reads_them() {
    let proxy = ChaosProxy::start("127.0.0.1:5").await.unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let pair = async || {
        let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (near, listener.accept().await.unwrap().0)
    };
    let ((mut client, client_side), (server_side, mut server)) = (pair().await, pair().await);
    let begun = proxy.shared.line.borrow().cuts;
    proxy.cut();
    client.write_all(b"ack").await.unwrap();
    drop(client);
    let (read, write) = (client_side.into_split().0, server_side.into_split().1);
    pump(read, write, Direction::ToServer, &proxy.shared, begun).await;
    let mut arrived = Vec::new();
    server.read_to_end(&mut arrived).await.unwrap();
    assert_eq!(arrived, b"");
}

fn bytes(pattern: &[u8], direction: Direction, passes: bool, skip: u32) -> BytePattern {
    BytePattern {
        pattern: pattern.to_vec(),
        direction,
        passes,
        skip,
    }
}

#[tokio::test]
async fn a_cut_that_is_resumed_at_once_still_ends_open_connections() {
    let proxy = ChaosProxy::start(echo_server().await).await.unwrap();
    let mut open = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(echoes(&mut open).await);
    proxy.cut();
    proxy.resume();
    assert!(!echoes(&mut open).await);
}

#[tokio::test]
async fn a_cut_discards_held_bytes() {
    let proxy = ChaosProxy::start(echo_server().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(echoes(&mut stream).await);
    let mut caught = proxy.stall_at(bytes(b"COMMIT", Direction::ToServer, false, 1));
    for part in ["COM", "MIT;", "COMM"] {
        stream.write_all(part.as_bytes()).await.unwrap();
        let mut back = vec![0; part.len()];
        stream.read_exact(&mut back).await.unwrap();
    }
    stream.write_all(b"IT;").await.unwrap();
    caught.wait().await.unwrap();
    assert!(!echoes(&mut stream).await);
    proxy.cut();
    proxy.resume();
    assert!(!matches!(stream.read(&mut [0]).await, Ok(1..)));
}

#[tokio::test]
async fn counts_each_pattern_once_however_the_bytes_are_split() {
    let proxy = ChaosProxy::start(echo_server().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    proxy.count(vec![b"two".to_vec(), b"three".to_vec()]);
    for part in ["one two thr", "ee", " two", "four"] {
        stream.write_all(part.as_bytes()).await.unwrap();
        let mut back = vec![0; part.len()];
        stream.read_exact(&mut back).await.unwrap();
    }
    assert_eq!(proxy.counted(), 3);
}

#[tokio::test]
async fn bytes_that_pass_arrive_and_their_answer_does_not() {
    let proxy = ChaosProxy::start(echo_server().await).await.unwrap();
    let mut stream = TcpStream::connect(proxy.addr()).await.unwrap();
    assert!(echoes(&mut stream).await);
    let mut caught = proxy.stall_at(bytes(b"ack", Direction::ToServer, true, 0));
    stream.write_all(b"ack").await.unwrap();
    caught.wait().await.unwrap();
    let mut echo = [0; 3];
    let reading = stream.read_exact(&mut echo);
    assert!(
        tokio::time::timeout(Duration::from_millis(200), reading)
            .await
            .is_err()
    );
    proxy.resume();
    stream.read_exact(&mut echo).await.unwrap();
    assert_eq!(&echo, b"ack", "the server had it all the time");
}

#[tokio::test]
async fn urls_are_rewritten_in_place() {
    let proxy = ChaosProxy::start("127.0.0.1:5").await.unwrap();
    let through = proxy.through("amqp://u:p@127.0.0.1:5672/%2f").unwrap();
    assert_eq!(through, format!("amqp://u:p@{}/%2f", proxy.addr()));
}
