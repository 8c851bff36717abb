//! Named moments at which a service is killed. The product does not know of them: the proxy on its connection stops the
//! service exactly when the relevant bytes pass, and then it is killed.

use std::time::Duration;

use anyhow::Result;
use testkit::chaos_proxy::{BytePattern, Direction};
use testkit::rpc_proxy::{HeldCall, Side};
use testkit::wiring::{CALLBACK, EXECUTOR, GATEWAY};

use super::system::{Link, System};

/// A point that no traffic reaches within this time is skipped and reported as not done.
const REACHED_WITHIN: Duration = Duration::from_secs(30);

/// `basic.ack` with its frame's length in front, `basic.publish`, and the end of a transaction.
const ACK: &[u8] = &[0, 0, 0, 13, 0, 60, 0, 80];
const PUBLISH: &[u8] = &[0, 60, 0, 40];
const COMMIT: &[u8] = b"COMMIT\0";
const SEND: &str = "eth_sendRawTransaction";

#[derive(Debug, Clone, Copy)]
enum StopAt {
    /// Before the server receives these bytes.
    Before(Link, &'static [u8]),
    /// After the server received them; its answer is withheld.
    After(Link, &'static [u8]),
    /// Before the client receives these bytes of the server.
    BeforeClient(Link, &'static [u8]),
    Rpc(&'static str, Side),
    /// Between an answer of the node and the commit of what follows from it.
    RpcThenCommit(&'static str),
}

#[derive(Debug, Clone, Copy)]
pub struct KillPoint {
    pub service: &'static str,
    pub name: &'static str,
    at: StopAt,
}

const fn kill_point(service: &'static str, name: &'static str, at: StopAt) -> KillPoint {
    KillPoint { service, name, at }
}

pub const ALL: [KillPoint; 14] = [
    kill_point(
        GATEWAY,
        "before the commit of what it accepts",
        StopAt::Before(Link::Database, COMMIT),
    ),
    kill_point(
        GATEWAY,
        "after that commit, before the answer",
        StopAt::After(Link::Database, COMMIT),
    ),
    kill_point(GATEWAY, "before a publish", StopAt::Before(Link::Broker, PUBLISH)),
    kill_point(
        GATEWAY,
        "after a publish, before its row is deleted",
        StopAt::BeforeClient(Link::Broker, ACK),
    ),
    kill_point(
        CALLBACK,
        "before the commit of a decision",
        StopAt::Before(Link::Database, COMMIT),
    ),
    kill_point(
        CALLBACK,
        "after that commit, before the acknowledgement",
        StopAt::After(Link::Database, COMMIT),
    ),
    kill_point(
        CALLBACK,
        "before an acknowledgement",
        StopAt::Before(Link::Broker, ACK),
    ),
    kill_point(
        CALLBACK,
        "after a publish, before its row is deleted",
        StopAt::BeforeClient(Link::Broker, ACK),
    ),
    kill_point(
        EXECUTOR,
        "before a commit",
        StopAt::Before(Link::Database, COMMIT),
    ),
    kill_point(
        EXECUTOR,
        "after a commit, before it knows",
        StopAt::After(Link::Database, COMMIT),
    ),
    kill_point(
        EXECUTOR,
        "commands stored, before the acknowledgement",
        StopAt::Before(Link::Broker, ACK),
    ),
    kill_point(
        EXECUTOR,
        "after the commit, before the broadcast",
        StopAt::Rpc(SEND, Side::Request),
    ),
    kill_point(
        EXECUTOR,
        "after the broadcast, before it knows",
        StopAt::Rpc(SEND, Side::Answer),
    ),
    kill_point(
        EXECUTOR,
        "between confirm and settle",
        StopAt::RpcThenCommit("eth_getLogs"),
    ),
];

/// Waits for the moment and kills the service. False if the moment did not come; then nothing was done.
pub async fn kill_at(system: &mut System, point: &KillPoint, skip: u32) -> Result<bool> {
    let reached = tokio::time::timeout(REACHED_WITHIN, reach(system, point, skip)).await;
    let was_reached = reached.is_ok();
    if let Ok(held) = reached {
        let held = held?;
        system.app.service(point.service)?.kill9()?;
        drop(held);
    }
    // The bytes that were held back are lost with their connection.
    system.reset_connections(point.service);
    Ok(was_reached)
}

/// Resolves while the service hangs at the point; the caller keeps the result until it has killed the service.
async fn reach(system: &System, point: &KillPoint, skip: u32) -> Result<Option<HeldCall>> {
    let stop = |link, pattern: &[u8], direction, passes, skip| {
        system.link(point.service, link).stall_at(BytePattern {
            pattern: pattern.to_vec(),
            direction,
            passes,
            skip,
        })
    };
    match point.at {
        StopAt::Before(link, bytes) => stop(link, bytes, Direction::ToServer, false, skip).wait().await?,
        StopAt::After(link, bytes) => stop(link, bytes, Direction::ToServer, true, skip).wait().await?,
        StopAt::BeforeClient(link, bytes) => {
            stop(link, bytes, Direction::ToClient, false, skip).wait().await?;
        }
        StopAt::Rpc(method, side) => {
            let mut held = system.rpc.hold(method, side, skip);
            held.caught().await?;
            return Ok(Some(held));
        }
        StopAt::RpcThenCommit(method) => {
            let mut held = system.rpc.hold(method, Side::Answer, skip);
            held.caught().await?;
            let mut settling = stop(Link::Database, COMMIT, Direction::ToServer, false, 0);
            held.pass();
            settling.wait().await?;
        }
    }
    Ok(None)
}
