//! The matrix: who comes, what is broken, and what may explain a dead letter.

use std::time::Duration;

use testkit::rpc_proxy::{Reach, Troubles};
use testkit::wiring::SERVICES;

use super::fault::{Fault, ROUND};
use super::points;
use super::run::Params;
use super::stage::{KEYS, Setup, Wire};
use super::story::Mix;

#[derive(Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub about: &'static str,
    pub intents: usize,
    pub mix: Mix,
    /// Least distance between two customers.
    pub pace: Duration,
    pub setup: Setup,
    pub troubles: Troubles,
    /// It kills servers, so it needs some of its own.
    pub kills_servers: bool,
    /// Nothing but dependencies fail: no command may burn an attempt.
    pub only_outages: bool,
    /// A nonce may be lost for good, so what went under it may have to go under another.
    pub loses_nonces: bool,
    pub faults: fn(&mut fastrand::Rng, &Params) -> Vec<Fault>,
}

const SETUP: Setup = Setup {
    confirmations: 2,
    block_time: 1.0,
    spare: false,
};
const FINAL_AT_SIX: Setup = Setup {
    confirmations: 6,
    ..SETUP
};
const TWO_ENDPOINTS: Setup = Setup { spare: true, ..SETUP };
const QUIET: Troubles = Troubles {
    lose_request: 0,
    lose_answer: 0,
    refuse: 0,
    delay: 0,
    lie: 0,
};
const LYING: Troubles = Troubles {
    lose_request: 20,
    lose_answer: 20,
    refuse: 50,
    delay: 50,
    lie: 700,
};
const PLAIN: Scenario = Scenario {
    name: "",
    about: "",
    intents: 60,
    mix: Mix::EVERYDAY,
    pace: Duration::from_millis(100),
    setup: SETUP,
    troubles: QUIET,
    kills_servers: false,
    only_outages: false,
    loses_nonces: false,
    faults: |_, _| Vec::new(),
};

pub static ALL: [Scenario; 20] = [
    Scenario {
        name: "steady",
        about: "nothing breaks: what comes and goes for long leaves nothing in memory",
        pace: Duration::from_millis(20),
        ..PLAIN
    },
    Scenario {
        name: "callback-storm",
        about: "every report comes 50 times at once",
        intents: 10,
        mix: Mix::STORM,
        pace: Duration::ZERO,
        ..PLAIN
    },
    Scenario {
        name: "rpc-drops",
        about: "20 % of RPC requests get lost before the node acted, and 20 % of its answers after",
        intents: 150,
        troubles: Troubles::drops(200),
        ..PLAIN
    },
    Scenario {
        name: "rpc-lies",
        about: "the node tells every known error text in turn, refuses with 429 and 5xx, and is slow",
        intents: 200,
        // Many small batches: each is a transaction to lie about.
        pace: Duration::from_millis(300),
        troubles: LYING,
        ..PLAIN
    },
    Scenario {
        name: "reorgs",
        about: "forks of depth 1 to 5",
        setup: FINAL_AT_SIX,
        faults: |random, _| shuffled(random, (1..=5).map(Fault::Reorg).collect()),
        ..PLAIN
    },
    Scenario {
        name: "reorgs-past-final",
        about: "forks of depth 3 to 5 where two blocks are final",
        faults: |random, _| shuffled(random, (3..=5).map(Fault::Reorg).collect()),
        ..PLAIN
    },
    Scenario {
        name: "kills",
        about: "kill -9 of each service at random moments",
        intents: 150,
        faults: |random, params| kills(random, params.kills.unwrap_or(9)),
        ..PLAIN
    },
    Scenario {
        name: "kill-points",
        about: "kill -9 at every named point",
        intents: 170,
        faults: |random, _| {
            let all = points::ALL
                .iter()
                .map(|point| Fault::KillAt(point, random.u32(0..2)))
                .collect();
            shuffled(random, all)
        },
        ..PLAIN
    },
    Scenario {
        name: "broker-restart",
        about: "the broker is killed and started again under load",
        kills_servers: true,
        faults: |_, _| vec![Fault::KillBroker],
        ..PLAIN
    },
    Scenario {
        name: "database-restart",
        about: "PostgreSQL is killed and started again under load",
        kills_servers: true,
        faults: |_, _| vec![Fault::KillDatabase, Fault::KillDatabase],
        ..PLAIN
    },
    Scenario {
        name: "rpc-outage",
        about: "the node is away, and then unreachable: no attempt is burnt, and all is drained after its return",
        only_outages: true,
        faults: |_, params| {
            let half = params.outage / 2;
            vec![
                Fault::Outage(half, Reach::Down),
                Fault::Outage(half, Reach::Silent),
            ]
        },
        ..PLAIN
    },
    Scenario {
        name: "rpc-endpoints",
        about: "of two endpoints the first is away, unreachable, and behind: the other is asked, nothing goes out again",
        setup: TWO_ENDPOINTS,
        only_outages: true,
        faults: |random, _| {
            let time = Duration::from_secs(15);
            let all = vec![
                Fault::Outage(time, Reach::Down),
                Fault::Outage(time, Reach::Silent),
                Fault::Lag(time),
            ];
            shuffled(random, all)
        },
        ..PLAIN
    },
    Scenario {
        name: "wires",
        about: "connections to database and broker are cut and stalled",
        faults: |random, _| wires(random),
        ..PLAIN
    },
    Scenario {
        name: "fee-spikes",
        about: "the base fee jumps to 40 gwei, to more than we pay, and falls again",
        faults: |_, _| vec![Fault::BaseFee(40), Fault::BaseFee(700), Fault::BaseFee(15)],
        ..PLAIN
    },
    Scenario {
        name: "dropped-transactions",
        about: "the pool forgets transactions that wait for a block",
        faults: |_, _| vec![Fault::ForgetTransactions; 4],
        ..PLAIN
    },
    Scenario {
        name: "stolen-nonce",
        about: "somebody else sends with the executor's key",
        loses_nonces: true,
        faults: |random, _| {
            let keys = std::iter::repeat_with(|| Fault::StealNonce(random.usize(0..KEYS.len())));
            keys.take(3).collect()
        },
        ..PLAIN
    },
    Scenario {
        name: "two-executors",
        about: "the executor hangs past its lease, another takes over, and the first one wakes",
        faults: |_, _| vec![Fault::HangPastLease],
        ..PLAIN
    },
    Scenario {
        name: "purged-queues",
        about: "every work queue is emptied under load",
        faults: |_, _| vec![Fault::PurgeQueues; 3],
        ..PLAIN
    },
    Scenario {
        name: "operations",
        about: "keys are rotated and both contracts upgraded, rolled back and upgraded under load",
        faults: |_, _| vec![Fault::RotateKeys, Fault::UpgradeContracts],
        ..PLAIN
    },
    Scenario {
        name: "everything",
        about: "20 % RPC drops on both sides, kills, 3 forks, a broker and a database restart together",
        intents: 300,
        // As fast as mints go, so that faults find the executor at work and not only the intake.
        pace: Duration::from_millis(20),
        setup: FINAL_AT_SIX,
        troubles: Troubles::drops(200),
        kills_servers: true,
        faults: |random, params| {
            let mut all = kills(random, params.kills.unwrap_or(12));
            all.extend((0..3).map(|_| Fault::Reorg(random.u64(1..=5))));
            all.extend([Fault::KillBroker, Fault::KillDatabase]);
            shuffled(random, all)
        },
        ..PLAIN
    },
];

pub fn by_name(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name)
}

fn shuffled(random: &mut fastrand::Rng, mut faults: Vec<Fault>) -> Vec<Fault> {
    random.shuffle(&mut faults);
    faults
}

/// Spread evenly over the services; every fourth at a named point.
fn kills(random: &mut fastrand::Rng, count: usize) -> Vec<Fault> {
    let all = (0..count)
        .map(|index| {
            if index % 4 == 3 {
                Fault::KillAt(&points::ALL[random.usize(0..points::ALL.len())], random.u32(0..4))
            } else {
                Fault::Kill(ROUND[index % ROUND.len()])
            }
        })
        .collect();
    shuffled(random, all)
}

fn wires(random: &mut fastrand::Rng) -> Vec<Fault> {
    let mut all = Vec::new();
    for service in SERVICES {
        for wire in Wire::ALL {
            let time = Duration::from_millis(random.u64(300..4000));
            all.push(if random.bool() {
                Fault::Stall(service, wire, time)
            } else {
                Fault::Cut(service, wire, time)
            });
        }
    }
    shuffled(random, all)
}
