//! Named moments at which a service is killed. Nothing in the product knows of them: the proxy on the wire stops the
//! service exactly when the interesting bytes pass, and then it is killed.

use std::time::Duration;

use anyhow::Result;
use testkit::chaos_proxy::{Bytes, Way};
use testkit::rpc_proxy::{Held, Side};
use testkit::wiring::{CALLBACK, EXECUTOR, GATEWAY};

use super::stage::{Stage, Wire};

/// A point that no traffic reached within this time is given up, and said so.
const REACHED_WITHIN: Duration = Duration::from_secs(30);

/// `basic.ack` with its frame's length in front, `basic.publish`, and the end of a transaction.
const ACK: &[u8] = &[0, 0, 0, 13, 0, 60, 0, 80];
const PUBLISH: &[u8] = &[0, 60, 0, 40];
const COMMIT: &[u8] = b"COMMIT\0";
const SEND: &str = "eth_sendRawTransaction";

#[derive(Debug, Clone, Copy)]
enum At {
    /// Before the server gets these bytes.
    Before(Wire, &'static [u8]),
    /// The server has them; its answer is withheld.
    After(Wire, &'static [u8]),
    /// The client does not get these bytes of the server.
    Told(Wire, &'static [u8]),
    Rpc(&'static str, Side),
    /// Between an answer of the node and the commit of what follows from it.
    RpcThenCommit(&'static str),
}

#[derive(Debug, Clone, Copy)]
pub struct Point {
    pub service: &'static str,
    pub name: &'static str,
    at: At,
}

const fn point(service: &'static str, name: &'static str, at: At) -> Point {
    Point { service, name, at }
}

pub const ALL: [Point; 14] = [
    point(
        GATEWAY,
        "before the commit of what it accepts",
        At::Before(Wire::Database, COMMIT),
    ),
    point(
        GATEWAY,
        "after that commit, before the answer",
        At::After(Wire::Database, COMMIT),
    ),
    point(GATEWAY, "before a publish", At::Before(Wire::Broker, PUBLISH)),
    point(
        GATEWAY,
        "after a publish, before its row is deleted",
        At::Told(Wire::Broker, ACK),
    ),
    point(
        CALLBACK,
        "before the commit of a decision",
        At::Before(Wire::Database, COMMIT),
    ),
    point(
        CALLBACK,
        "after that commit, before the acknowledgement",
        At::After(Wire::Database, COMMIT),
    ),
    point(
        CALLBACK,
        "before an acknowledgement",
        At::Before(Wire::Broker, ACK),
    ),
    point(
        CALLBACK,
        "after a publish, before its row is deleted",
        At::Told(Wire::Broker, ACK),
    ),
    point(EXECUTOR, "before a commit", At::Before(Wire::Database, COMMIT)),
    point(
        EXECUTOR,
        "after a commit, before it knows",
        At::After(Wire::Database, COMMIT),
    ),
    point(
        EXECUTOR,
        "commands stored, before the acknowledgement",
        At::Before(Wire::Broker, ACK),
    ),
    point(
        EXECUTOR,
        "after the commit, before the broadcast",
        At::Rpc(SEND, Side::Request),
    ),
    point(
        EXECUTOR,
        "after the broadcast, before it knows",
        At::Rpc(SEND, Side::Answer),
    ),
    point(
        EXECUTOR,
        "between confirm and settle",
        At::RpcThenCommit("eth_getLogs"),
    ),
];

/// Waits for the moment and kills. False if the moment did not come; then nothing was done.
pub async fn kill_at(stage: &mut Stage, point: &Point, skip: u32) -> Result<bool> {
    let reached = tokio::time::timeout(REACHED_WITHIN, reach(stage, point, skip)).await;
    let came = reached.is_ok();
    if let Ok(held) = reached {
        let held = held?;
        stage.app.service(point.service)?.kill9()?;
        drop(held);
    }
    // What was held back dies with its connection.
    stage.mend(point.service);
    Ok(came)
}

/// Resolves while the service hangs at the point; what comes out must live until it is killed.
async fn reach(stage: &Stage, point: &Point, skip: u32) -> Result<Option<Held>> {
    let stop = |wire, pattern: &[u8], way, passes, skip| {
        stage.wire(point.service, wire).stall_at(Bytes {
            pattern: pattern.to_vec(),
            way,
            passes,
            skip,
        })
    };
    match point.at {
        At::Before(wire, bytes) => stop(wire, bytes, Way::ToServer, false, skip).wait().await?,
        At::After(wire, bytes) => stop(wire, bytes, Way::ToServer, true, skip).wait().await?,
        At::Told(wire, bytes) => stop(wire, bytes, Way::ToClient, false, skip).wait().await?,
        At::Rpc(method, side) => {
            let mut held = stage.rpc.hold(method, side, skip);
            held.caught().await?;
            return Ok(Some(held));
        }
        At::RpcThenCommit(method) => {
            let mut held = stage.rpc.hold(method, Side::Answer, skip);
            held.caught().await?;
            let mut settling = stop(Wire::Database, COMMIT, Way::ToServer, false, 0);
            held.pass();
            settling.wait().await?;
        }
    }
    Ok(None)
}
