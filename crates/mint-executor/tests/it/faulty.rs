//! A proxy with one fault: it answers one method wrongly, or never, and forwards everything else to its node.

use anyhow::{Context as _, Result};
use chain::transaction::recover;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Stands for all methods.
pub const EVERYTHING: &str = "*";

#[derive(Clone, Debug)]
pub enum Fault {
    /// Always this.
    Answer(Result<Value, &'static str>),
    /// Always an error of this code.
    Error(i64, &'static str),
    /// Accepts the request and never answers.
    Silence,
    /// Answers null when the first parameter is this.
    Hole(String),
    /// Refuses transactions that may cost more wei than this.
    Ceiling(u128),
}

/// Starts the proxy; returns its URL.
pub async fn faulty(node: String, method: &'static str, fault: Fault) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, node.clone(), method, fault.clone()));
        }
    });
    Ok(url)
}

async fn answer(mut stream: TcpStream, node: String, bad: &str, fault: Fault) -> Result<()> {
    let mut text = Vec::new();
    let body = loop {
        let mut chunk = [0; 16 * 1024];
        let read = stream.read(&mut chunk).await?;
        anyhow::ensure!(read > 0, "closed");
        text.extend_from_slice(&chunk[..read]);
        if let Some(body) = whole_body(&text) {
            break body;
        }
    };
    let request: Value = serde_json::from_slice(&body)?;
    let method = request["method"].as_str().context("a method")?;
    let is_bad = bad == method || bad == EVERYTHING;
    let mut code = -32000;
    let result = match fault {
        Fault::Answer(reply) if is_bad => reply.map_err(anyhow::Error::msg),
        Fault::Error(of, text) if is_bad => {
            code = of;
            Err(anyhow::Error::msg(text))
        }
        Fault::Hole(at) if is_bad && request["params"][0] == at.as_str() => Ok(Value::Null),
        Fault::Ceiling(most) if is_bad && cost(&request["params"][0])? > most => Err(anyhow::anyhow!(
            "tx fee (1.07 ether) exceeds the configured cap (1.00 ether)"
        )),
        Fault::Silence if is_bad => std::future::pending().await,
        _ => testkit::http::rpc(&node, method, request["params"].clone()).await,
    };
    let reply = match result {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": request["id"], "result": result }),
        Err(error) => {
            let error = json!({ "code": code, "message": format!("{error:#}") });
            json!({ "jsonrpc": "2.0", "id": request["id"], "error": error })
        }
    }
    .to_string();
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        reply.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(reply.as_bytes()).await?;
    Ok(())
}

/// The highest cost of a signed transaction, wei.
fn cost(raw: &Value) -> Result<u128> {
    let raw = raw.as_str().and_then(|text| text.strip_prefix("0x"));
    let said = recover(&hex::decode(raw.context("signed bytes")?)?)?.transaction;
    Ok(u128::from(said.gas_limit) * said.fees.max_fee_per_gas)
}

fn whole_body(text: &[u8]) -> Option<Vec<u8>> {
    let split = text.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&text[..split]).to_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))?;
    let body = &text[split + 4..];
    (body.len() >= length.trim().parse::<usize>().ok()?).then(|| body.to_vec())
}
