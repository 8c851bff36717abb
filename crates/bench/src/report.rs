//! Prints the figures, each beside its limit.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::chain_view::Growth;
use crate::load::{LoadProfile, LoadResult, ratio};

/// What the parts of this machine can do alone, per second.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Accepted intents that PostgreSQL could store.
    pub intents: f64,
    pub reports: f64,
    /// Mints of the bare node.
    pub mints: f64,
}

pub struct Measurements {
    pub profile: LoadProfile,
    pub intents: LoadResult,
    pub callbacks: LoadResult,
    pub limits: Limits,
    pub deposits: Growth,
    pub mints: Growth,
    /// RPC calls over the whole run.
    pub calls: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Accepted {
    pub per_second: f64,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
    /// Rate of PostgreSQL alone with the same rows in groups of 64.
    pub limit_per_second: f64,
    pub of_limit: f64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub offered_per_second: u32,
    pub requests: usize,
    pub intents: Accepted,
    pub callbacks: Accepted,
    pub deposits_per_second: f64,
    pub mints_per_second: f64,
    /// Rate of the bare node with the same mints, signed beforehand.
    pub node_mints_per_second: f64,
    pub mints_of_limit: f64,
    /// Deposit and mint together.
    pub rpc_calls_per_mint: f64,
}

impl Report {
    pub fn new(m: &Measurements) -> Self {
        Self {
            offered_per_second: m.profile.rate,
            requests: m.profile.count,
            intents: Accepted::new(&m.intents, m.limits.intents),
            callbacks: Accepted::new(&m.callbacks, m.limits.reports),
            deposits_per_second: per_second(m.deposits),
            mints_per_second: per_second(m.mints),
            node_mints_per_second: m.limits.mints,
            mints_of_limit: per_second(m.mints) / m.limits.mints,
            rpc_calls_per_mint: figure(m.calls) / figure(m.mints.reached).max(1.0),
        }
    }
}

impl Accepted {
    fn new(result: &LoadResult, limit: f64) -> Self {
        let ms = |percent| result.percentile(percent).as_secs_f64() * 1e3;
        Self {
            per_second: result.per_second(),
            p50_ms: ms(50),
            p95_ms: ms(95),
            p99_ms: ms(99),
            limit_per_second: limit,
            of_limit: result.per_second() / limit,
        }
    }
}

fn per_second(growth: Growth) -> f64 {
    figure(growth.reached) / growth.took.max(Duration::from_millis(1)).as_secs_f64()
}

fn figure(count: u64) -> f64 {
    ratio(usize::try_from(count).unwrap_or(usize::MAX), 1)
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} requests, offered at {}/s\n",
            self.requests, self.offered_per_second
        )?;
        writeln!(
            f,
            "{:<20} {:>9} {:>9} {:>9} {:>9} {:>13} {:>9}",
            "accepted", "per s", "p50 ms", "p95 ms", "p99 ms", "pgbench per s", "of limit"
        )?;
        for (name, a) in [("intents", &self.intents), ("callbacks", &self.callbacks)] {
            writeln!(
                f,
                "{name:<20} {:>9.0} {:>9.1} {:>9.1} {:>9.1} {:>13.0} {:>8.1}%",
                a.per_second,
                a.p50_ms,
                a.p95_ms,
                a.p99_ms,
                a.limit_per_second,
                a.of_limit * 100.0
            )?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "{:<28} {:>9.1}",
            "deposits mined per s", self.deposits_per_second
        )?;
        writeln!(
            f,
            "{:<28} {:>9.1}   bare node {:.1}, {:.1}% of it",
            "mints mined per s",
            self.mints_per_second,
            self.node_mints_per_second,
            self.mints_of_limit * 100.0
        )?;
        writeln!(f, "{:<28} {:>9.3}", "RPC calls per mint", self.rpc_calls_per_mint)
    }
}
