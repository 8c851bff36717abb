//! The matrix of scenarios: which customers arrive, which faults are injected, and what is checked at the end.

use std::time::Duration;

use testkit::rpc_proxy::{FaultRates, Reachability};
use testkit::wiring::SERVICES;

use super::customer_plan::BehaviourMix;
use super::fault::{Fault, KILL_ORDER};
use super::kill_points;
use super::params::Params;
use super::system::{KEYS, Link, Setup};

#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub description: &'static str,
    pub intents: usize,
    pub mix: BehaviourMix,
    /// Least time between two customers.
    pub interval: Duration,
    pub setup: Setup,
    pub rpc_faults: FaultRates,
    /// The scenario kills servers, so it needs its own.
    pub kills_servers: bool,
    /// Only dependencies fail: no command may use up an attempt.
    pub only_outages: bool,
    /// A nonce may be lost for good, so its command may have to be signed again under another.
    pub loses_nonces: bool,
    pub faults: fn(&mut fastrand::Rng, &Params) -> Vec<Fault>,
}

const SETUP: Setup = Setup {
    confirmations: 2,
    block_time: 1.0,
    second_endpoint: false,
};
const FINAL_AT_SIX: Setup = Setup {
    confirmations: 6,
    ..SETUP
};
const TWO_ENDPOINTS: Setup = Setup {
    second_endpoint: true,
    ..SETUP
};
const NO_RPC_FAULTS: FaultRates = FaultRates {
    lose_request: 0,
    lose_answer: 0,
    refuse: 0,
    delay: 0,
    false_error: 0,
};
const FALSE_ERRORS: FaultRates = FaultRates {
    lose_request: 20,
    lose_answer: 20,
    refuse: 50,
    delay: 50,
    false_error: 700,
};
const BASE: Scenario = Scenario {
    name: "",
    description: "",
    intents: 60,
    mix: BehaviourMix::EVERYDAY,
    interval: Duration::from_millis(100),
    setup: SETUP,
    rpc_faults: NO_RPC_FAULTS,
    kills_servers: false,
    only_outages: false,
    loses_nonces: false,
    faults: |_, _| Vec::new(),
};

pub static ALL: [Scenario; 20] = [
    Scenario {
        name: "steady",
        description: "no fault: shows whether memory grows over a long run",
        interval: Duration::from_millis(20),
        ..BASE
    },
    Scenario {
        name: "callback-storm",
        description: "every report comes 50 times at once",
        intents: 10,
        mix: BehaviourMix::DUPLICATE_STORM,
        interval: Duration::ZERO,
        ..BASE
    },
    Scenario {
        name: "rpc-drops",
        description: "20 % of RPC requests are lost before the node acts, and 20 % of its answers afterwards",
        intents: 150,
        rpc_faults: FaultRates::drops(200),
        ..BASE
    },
    Scenario {
        name: "rpc-errors",
        description: "the node answers transactions with every known error text in turn, refuses calls with 429 and 5xx, and is slow",
        intents: 200,
        // Many small batches give many transactions to answer with a false error.
        interval: Duration::from_millis(300),
        rpc_faults: FALSE_ERRORS,
        ..BASE
    },
    Scenario {
        name: "reorgs",
        description: "forks of depth 1 to 5",
        setup: FINAL_AT_SIX,
        faults: |random, _| shuffled(random, (1..=5).map(Fault::Reorg).collect()),
        ..BASE
    },
    Scenario {
        name: "reorgs-past-final",
        description: "forks of depth 3 to 5 where two blocks are final",
        faults: |random, _| shuffled(random, (3..=5).map(Fault::Reorg).collect()),
        ..BASE
    },
    Scenario {
        name: "kills",
        description: "kill -9 of each service at random moments",
        intents: 150,
        faults: |random, params| kills(random, params.kills.unwrap_or(9)),
        ..BASE
    },
    Scenario {
        name: "kill-points",
        description: "kill -9 at every named point",
        intents: 170,
        faults: |random, _| {
            let all = kill_points::ALL
                .iter()
                .map(|point| Fault::KillAt(point, random.u32(0..2)))
                .collect();
            shuffled(random, all)
        },
        ..BASE
    },
    Scenario {
        name: "broker-restart",
        description: "the broker is killed and started again under load",
        kills_servers: true,
        faults: |_, _| vec![Fault::KillBroker],
        ..BASE
    },
    Scenario {
        name: "database-restart",
        description: "PostgreSQL is killed and started again under load",
        kills_servers: true,
        faults: |_, _| vec![Fault::KillDatabase, Fault::KillDatabase],
        ..BASE
    },
    Scenario {
        name: "rpc-outage",
        description: "the node is down and then unreachable: no attempt is used up, and the backlog drains after its return",
        only_outages: true,
        faults: |_, params| {
            let half = params.outage / 2;
            vec![
                Fault::Outage(half, Reachability::Down),
                Fault::Outage(half, Reachability::Silent),
            ]
        },
        ..BASE
    },
    Scenario {
        name: "rpc-endpoints",
        description: "the first of two endpoints is down, unreachable and behind: the second is used, nothing is sent twice",
        setup: TWO_ENDPOINTS,
        only_outages: true,
        faults: |random, _| {
            let time = Duration::from_secs(15);
            let all = vec![
                Fault::Outage(time, Reachability::Down),
                Fault::Outage(time, Reachability::Silent),
                Fault::Lag(time),
            ];
            shuffled(random, all)
        },
        ..BASE
    },
    Scenario {
        name: "connections",
        description: "connections to database and broker are cut and stalled",
        faults: |random, _| connection_faults(random),
        ..BASE
    },
    Scenario {
        name: "fee-spikes",
        description: "the base fee jumps to 40 gwei, to more than we pay, and falls again",
        faults: |_, _| vec![Fault::BaseFee(40), Fault::BaseFee(700), Fault::BaseFee(15)],
        ..BASE
    },
    Scenario {
        name: "dropped-transactions",
        description: "the pool forgets transactions that wait for a block",
        faults: |_, _| vec![Fault::ForgetTransactions; 4],
        ..BASE
    },
    Scenario {
        name: "stolen-nonce",
        description: "somebody else sends with the executor's key",
        loses_nonces: true,
        faults: |random, _| {
            let keys = std::iter::repeat_with(|| Fault::StealNonce(random.usize(0..KEYS.len())));
            keys.take(3).collect()
        },
        ..BASE
    },
    Scenario {
        name: "two-executors",
        description: "the executor hangs past its lease, another takes over, and the first one wakes",
        faults: |_, _| vec![Fault::HangPastLease],
        ..BASE
    },
    Scenario {
        name: "purged-queues",
        description: "every work queue is emptied under load",
        faults: |_, _| vec![Fault::PurgeQueues; 3],
        ..BASE
    },
    Scenario {
        name: "operations",
        description: "keys are rotated and both contracts upgraded, rolled back and upgraded under load",
        faults: |_, _| vec![Fault::RotateKeys, Fault::UpgradeContracts],
        ..BASE
    },
    Scenario {
        name: "everything",
        description: "20 % RPC drops on both sides, kills, 3 forks, a broker and a database restart together",
        intents: 300,
        // Customers arrive as fast as mints are made, so that faults find the executor at work and not only the intake.
        interval: Duration::from_millis(20),
        setup: FINAL_AT_SIX,
        rpc_faults: FaultRates::drops(200),
        kills_servers: true,
        faults: |random, params| {
            let mut all = kills(random, params.kills.unwrap_or(12));
            all.extend((0..3).map(|_| Fault::Reorg(random.u64(1..=5))));
            all.extend([Fault::KillBroker, Fault::KillDatabase]);
            shuffled(random, all)
        },
        ..BASE
    },
];

pub fn by_name(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

fn shuffled(random: &mut fastrand::Rng, mut faults: Vec<Fault>) -> Vec<Fault> {
    random.shuffle(&mut faults);
    faults
}

/// Kills spread evenly over the services; every fourth is at a kill point.
fn kills(random: &mut fastrand::Rng, count: usize) -> Vec<Fault> {
    let all = (0..count)
        .map(|index| {
            if index % 4 == 3 {
                Fault::KillAt(
                    &kill_points::ALL[random.usize(0..kill_points::ALL.len())],
                    random.u32(0..4),
                )
            } else {
                Fault::Kill(KILL_ORDER[index % KILL_ORDER.len()])
            }
        })
        .collect();
    shuffled(random, all)
}

fn connection_faults(random: &mut fastrand::Rng) -> Vec<Fault> {
    let mut all = Vec::new();
    for service in SERVICES {
        for &link in Link::ALL {
            let time = Duration::from_millis(random.u64(300..4000));
            all.push(if random.bool() {
                Fault::Stall(service, link, time)
            } else {
                Fault::Cut(service, link, time)
            });
        }
    }
    shuffled(random, all)
}
