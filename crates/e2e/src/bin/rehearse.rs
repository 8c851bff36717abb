//! Kills each dependency under load and holds alerts, dashboards and the runbook to their word.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use e2e::rehearsal::{self, Act, Outage, Params};

/// The real services over real PostgreSQL, RabbitMQ and anvil, watched by a real Prometheus with the committed rules. Each
/// outage lasts until its alert fires; the runbook's steps follow. The exit code is 0 only if all was as promised and the
/// ledger agrees.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these (repeatable); --list names them.
    #[arg(long, conflicts_with = "none")]
    only: Vec<String>,
    /// Nothing is taken away.
    #[arg(long)]
    none: bool,
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Milliseconds between two customers.
    #[arg(long, default_value_t = 250)]
    pace: u64,
    /// Seconds before anything is taken away.
    #[arg(long, default_value_t = 20)]
    calm: u64,
    /// A command to run at the end, with PROMETHEUS_URL set.
    #[arg(long)]
    then: Option<String>,
    /// Say what can be taken away, and end.
    #[arg(long)]
    list: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    if arguments.list {
        for outage in &rehearsal::ALL {
            println!("{:<14} {}", outage.name, outage.alert);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let params = Params {
        seed: arguments.seed,
        pace: Duration::from_millis(arguments.pace),
        calm: Duration::from_secs(arguments.calm),
        then: arguments.then.clone(),
    };
    let (acts, verdict) = rehearsal::play(&chosen(&arguments)?, &params).await?;
    acts.iter().for_each(tell);
    println!(
        "{} settled, {} pending; {:?}",
        verdict.settled, verdict.pending, verdict.totals
    );
    for violation in &verdict.violations {
        println!("VIOLATED: {violation}");
    }
    Ok(if verdict.violations.is_empty() && verdict.pending == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn chosen(arguments: &Arguments) -> Result<Vec<&'static Outage>> {
    if arguments.none {
        return Ok(Vec::new());
    }
    if arguments.only.is_empty() {
        return Ok(rehearsal::ALL.iter().collect());
    }
    let named = |name: &String| rehearsal::ALL.iter().find(|outage| outage.name == name);
    arguments
        .only
        .iter()
        .map(|name| named(name).with_context(|| format!("nothing is called {name}; --list shows all")))
        .collect()
}

fn tell(act: &Act) {
    println!(
        "{:<14} {:<14} fired after {:>3.0} s of {:>3.0}; {} steps of the runbook; also {:?}",
        act.outage.name,
        act.outage.alert,
        act.fired_after.as_secs_f64(),
        act.promised.as_secs_f64(),
        act.blocks_run,
        act.others
    );
}
