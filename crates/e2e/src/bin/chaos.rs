//! Breaks the running product by a seeded schedule and says whether a shilling went missing.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use e2e::chaos::{self, Infrastructure, Params, Scenario, ScenarioResult};

/// Runs the real services over real PostgreSQL, RabbitMQ and anvil, breaks them, and checks every shilling against the
/// chain. The exit code is 0 only if nothing was violated.
#[derive(Debug, Parser)]
#[command(after_help = "Examples:\n  make chaos MINUTES=15 SEED=7\n  \
        make chaos CHAOS_ARGS='--scenario everything --intents 10000 --kills 50'\n  \
        make chaos CHAOS_ARGS='--scenario rpc-outage --outage 300'")]
struct Arguments {
    /// Seed of the schedule; the same seed gives the same schedule
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Minutes after which no scenario starts; the matrix is repeated with further seeds until then
    #[arg(long)]
    minutes: Option<u64>,
    /// Only this scenario (repeatable)
    #[arg(long)]
    scenario: Vec<String>,
    /// Number of intents, in place of each scenario's own
    #[arg(long)]
    intents: Option<usize>,
    #[arg(long)]
    kills: Option<usize>,
    /// Seconds without an RPC endpoint
    #[arg(long, default_value_t = 40)]
    outage: u64,
    /// Number of customers at a time
    #[arg(long, default_value_t = 16)]
    at_once: usize,
    /// Print JSON in place of the table
    #[arg(long)]
    json: bool,
    /// Print what each scenario does and exit
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.list {
        for scenario in &chaos::ALL {
            println!("{:<22} {}", scenario.name, scenario.description);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let scenarios = chosen(&arguments.scenario)?;
    let mut results = Vec::new();
    let outcome = run(&arguments, &scenarios, &mut results).await;
    // Results from before an error are printed too.
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&results)?);
    } else {
        println!("seed {}\n\n{}", arguments.seed, chaos::table(&results));
    }
    outcome?;
    let not_run = scenarios.len().saturating_sub(results.len());
    if not_run > 0 {
        eprintln!(
            "chaos: the time is over and {not_run} scenarios were not run: give more minutes, or fewer scenarios"
        );
    }
    Ok(if not_run == 0 && results.iter().all(ScenarioResult::is_good) {
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

async fn run(
    arguments: &Arguments,
    scenarios: &[&Scenario],
    results: &mut Vec<ScenarioResult>,
) -> Result<()> {
    eprintln!("chaos: seed {}; starting servers", arguments.seed);
    let begun = Instant::now();
    let time = arguments.minutes.map(|minutes| Duration::from_secs(minutes * 60));
    let mut infrastructure = Infrastructure::start().await?;
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
                scenario.name, params.seed, scenario.description
            );
            let result = chaos::run(scenario, &params, Some(&mut infrastructure))
                .await
                .with_context(|| format!("scenario {} with seed {}", scenario.name, params.seed))?;
            print_result(&result);
            results.push(result);
        }
        if time.is_none() {
            break;
        }
    }
    Ok(())
}

fn print_result(result: &ScenarioResult) {
    let judgement = if result.is_good() { "good" } else { "VIOLATED" };
    eprintln!(
        "chaos: {} (seed {}): {judgement}: {} of {} recovered in {:.0} s",
        result.scenario, result.seed, result.recovered, result.intents, result.took_seconds
    );
    for violation in &result.violations {
        eprintln!("chaos:   {violation}");
    }
}
