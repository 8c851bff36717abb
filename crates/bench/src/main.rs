//! Drives the running stack open-loop and prints each figure beside a limit measured in the same run.
//! A benchmark, not a test: it fails only when something is lost or refused, never because a figure is low.

mod chain_view;
mod limit_node;
mod limit_sql;
mod load;
mod report;
mod requests;
mod rpc_calls;
mod settings;

use std::process::Command;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use runtime::Environment;

use crate::limit_sql::GatewayWrite;
use crate::load::{LoadProfile, LoadResult};
use crate::report::{Limits, Report};
use crate::requests::{Callbacks, Intents, Plan};
use crate::settings::Settings;

/// Drives signed intents and their M-Pesa callbacks through the running stack and compares with the limits of this
/// machine.
#[derive(Debug, Parser)]
#[command(
    after_help = "Examples:\n  make bench\n  make bench BENCH_ARGS='--rate 5000 --intents 50000'\n  . .stack/env && cargo run --release -p bench -- --json"
)]
struct Arguments {
    /// Intents to send, and then as many callbacks.
    #[arg(long, default_value_t = 10_000)]
    intents: usize,
    /// Requests per second, due on time whether or not earlier ones were answered.
    #[arg(long, default_value_t = 2_000)]
    rate: u32,
    /// Kept-alive connections.
    #[arg(long, default_value_t = 128)]
    connections: usize,
    /// Seconds for each pgbench run.
    #[arg(long, default_value_t = 5)]
    limit_seconds: u32,
    /// Mints for the bare node's limit.
    #[arg(long, default_value_t = 2_048)]
    limit_mints: usize,
    /// Seconds between the stack's blocks, for the bare node's limit.
    #[arg(long, env = "BLOCK_TIME", default_value_t = 2.0)]
    block_time: f64,
    /// The operator's binary, for the compliance of the run's users.
    #[arg(long, env = "FIATRAILS_BIN", default_value = "fiatrails")]
    fiatrails: String,
    /// Print one JSON object instead of the table.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let settings = Settings::read(&Environment::of_process())?;
    let report = run(&arguments, &settings).await?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}

async fn run(arguments: &Arguments, settings: &Settings) -> Result<Report> {
    let profile = LoadProfile {
        rate: arguments.rate,
        count: arguments.intents,
        connections: arguments.connections,
    };
    let plan = Plan::new(settings, arguments.intents)?;
    print_step("making the run's users compliant");
    make_compliant(arguments, &plan)?;

    let limits = Limits::measure(arguments, settings).await?;

    let expected = u64::try_from(arguments.intents)?;
    let pending = chain_view::escrowed(settings).await?;
    let supply = chain_view::minted(settings).await?;
    let calls = rpc_calls::total(settings).await?;

    print_step(&format!("{expected} intents at {}/s", arguments.rate));
    let deposits = tokio::spawn({
        let settings = settings.clone();
        async move { chain_view::watch("deposits", pending, expected, || chain_view::escrowed(&settings)).await }
    });
    let intents = all_accepted(
        "intents",
        load::run(&settings.gateway, Arc::new(Intents(plan.clone())), profile).await?,
    )?;
    print_step("waiting until every deposit is in escrow");
    let deposits = deposits.await??;

    print_step(&format!("{expected} callbacks at {}/s", arguments.rate));
    let mints = tokio::spawn({
        let settings = settings.clone();
        async move { chain_view::watch("mints", supply, expected, || chain_view::minted(&settings)).await }
    });
    let callbacks = all_accepted(
        "callbacks",
        load::run(&settings.gateway, Arc::new(Callbacks(plan)), profile).await?,
    )?;
    print_step("waiting until everything is minted");
    let mints = mints.await??;
    let minted = mints.reached;
    ensure!(minted == expected, "{minted} mints for {expected} payments");
    let calls = rpc_calls::total(settings).await?.saturating_sub(calls);

    Ok(Report::new(&report::Measurements {
        profile,
        intents,
        callbacks,
        limits,
        deposits,
        mints,
        calls,
    }))
}

impl Limits {
    /// Measures what the parts of this machine can do alone.
    async fn measure(arguments: &Arguments, settings: &Settings) -> Result<Self> {
        let (url, seconds) = (&settings.database_url, arguments.limit_seconds);
        print_step("pgbench: the rows of accepted intents, and of stored reports");
        let intents = limit_sql::measure(url, GatewayWrite::Intents, seconds).await?;
        let reports = limit_sql::measure(url, GatewayWrite::Reports, seconds).await?;
        print_step("the bare node: the same mints, signed beforehand");
        let mints = limit_node::measure(arguments.limit_mints, arguments.block_time).await?;
        Ok(Self {
            intents,
            reports,
            mints,
        })
    }
}

fn make_compliant(arguments: &Arguments, plan: &Plan) -> Result<()> {
    for user in &plan.users {
        let out = Command::new(&arguments.fiatrails)
            .args(testkit::operator::set_compliance(&user.to_string(), 10, true))
            .output()
            .with_context(|| format!("{} does not start (FIATRAILS_BIN)", arguments.fiatrails))?;
        ensure!(
            out.status.success(),
            "compliance of {user}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    Ok(())
}

/// Refused or unanswered requests make every other figure meaningless.
fn all_accepted(what: &str, result: LoadResult) -> Result<LoadResult> {
    let refused = result.refused.len();
    ensure!(
        refused == 0,
        "{refused} {what} were not accepted, first status {:?}",
        result.refused.first()
    );
    Ok(result)
}

fn print_step(text: &str) {
    eprintln!("bench: {text}");
}
