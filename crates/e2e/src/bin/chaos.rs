//! Breaks the running product by a seeded schedule and says whether a shilling went missing.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use e2e::chaos::{self, Ground, Params, Row, Scenario};

/// Runs the real services over real PostgreSQL, RabbitMQ and anvil, breaks them, and checks every shilling against the
/// chain. The exit code is 0 only if nothing was violated.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  make chaos MINUTES=15 SEED=7\n  \
        make chaos CHAOS_ARGS='--scenario everything --intents 10000 --kills 50'\n  \
        make chaos CHAOS_ARGS='--scenario rpc-outage --outage 300'")]
struct Arguments {
    /// The same seed gives the same schedule.
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// No scenario begins after so many minutes; the matrix is repeated with further seeds until then.
    #[arg(long)]
    minutes: Option<u64>,
    /// Only these (repeatable).
    #[arg(long)]
    scenario: Vec<String>,
    /// Instead of each scenario's own number.
    #[arg(long)]
    intents: Option<usize>,
    #[arg(long)]
    kills: Option<usize>,
    /// Seconds without an RPC endpoint.
    #[arg(long, default_value_t = 40)]
    outage: u64,
    /// Customers at a time.
    #[arg(long, default_value_t = 16)]
    at_once: usize,
    /// One JSON object instead of the table.
    #[arg(long)]
    json: bool,
    /// Say what each scenario does, and end.
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.list {
        for scenario in &chaos::ALL {
            println!("{:<22} {}", scenario.name, scenario.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let scenarios = chosen(&arguments.scenario)?;
    let mut rows = Vec::new();
    let told = run(&arguments, &scenarios, &mut rows).await;
    // What was seen before an error is shown too.
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        println!("seed {}\n\n{}", arguments.seed, chaos::table(&rows));
    }
    told?;
    let left = scenarios.len().saturating_sub(rows.len());
    if left > 0 {
        eprintln!(
            "chaos: the time is over and {left} scenarios were not run: give more minutes, or fewer scenarios"
        );
    }
    Ok(if left == 0 && rows.iter().all(Row::is_good) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn chosen(names: &[String]) -> Result<Vec<&'static Scenario>> {
    let all = chaos::ALL.iter().map(|scenario| scenario.name);
    let names: Vec<&str> = if names.is_empty() {
        all.collect()
    } else {
        names.iter().map(String::as_str).collect()
    };
    names
        .into_iter()
        .map(|name| chaos::by_name(name).with_context(|| format!("no scenario {name}; --list shows them")))
        .collect()
}

async fn run(arguments: &Arguments, scenarios: &[&Scenario], rows: &mut Vec<Row>) -> Result<()> {
    eprintln!("chaos: seed {}; starting servers", arguments.seed);
    let begun = Instant::now();
    let time = arguments.minutes.map(|minutes| Duration::from_secs(minutes * 60));
    let mut ground = Ground::start().await?;
    for round in 0.. {
        for scenario in scenarios {
            if time.is_some_and(|time| begun.elapsed() > time) {
                return Ok(());
            }
            let params = Params {
                seed: arguments.seed + round * 1000,
                intents: arguments.intents,
                kills: arguments.kills,
                outage: Duration::from_secs(arguments.outage),
                at_once: arguments.at_once,
            };
            eprintln!(
                "chaos: {} (seed {}): {}",
                scenario.name, params.seed, scenario.about
            );
            let row = chaos::play(scenario, &params, Some(&mut ground))
                .await
                .with_context(|| format!("scenario {} with seed {}", scenario.name, params.seed))?;
            tell(&row);
            rows.push(row);
        }
        if time.is_none() {
            break;
        }
    }
    Ok(())
}

fn tell(row: &Row) {
    let verdict = if row.is_good() { "good" } else { "VIOLATED" };
    eprintln!(
        "chaos: {} (seed {}): {verdict}: {} of {} recovered in {:.0} s",
        row.scenario, row.seed, row.recovered, row.intents, row.took_seconds
    );
    for violation in &row.violations {
        eprintln!("chaos:   {violation}");
    }
}
