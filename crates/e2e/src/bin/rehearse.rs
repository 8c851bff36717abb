//! Kills each dependency under load and checks alerts, dashboards and the runbook.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use e2e::rehearsal::{self, Outage, OutageResult, Params};

/// The real services over real PostgreSQL, RabbitMQ and anvil, watched by a real Prometheus with the committed rules. Each
/// outage lasts until its alert fires; the runbook's steps follow. The exit code is 0 only if every promise was kept and the
/// ledger agrees.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only this outage (repeatable); --list names them
    #[arg(long, conflicts_with = "none")]
    only: Vec<String>,
    /// Run without any outage
    #[arg(long)]
    none: bool,
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// Least time between two customers, in milliseconds
    #[arg(long, default_value_t = 250)]
    interval: u64,
    /// Seconds before the first outage
    #[arg(long, default_value_t = 20)]
    healthy_for: u64,
    /// Command to run at the end, with PROMETHEUS_URL set
    #[arg(long)]
    final_command: Option<String>,
    /// Print the outages and exit
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
        interval: Duration::from_millis(arguments.interval),
        healthy_for: Duration::from_secs(arguments.healthy_for),
        final_command: arguments.final_command.clone(),
    };
    let (results, audited) = rehearsal::run(&chosen(&arguments)?, &params).await?;
    results.iter().for_each(print_result);
    println!(
        "{} settled, {} pending; {:?}",
        audited.settled, audited.pending, audited.totals
    );
    for violation in &audited.violations {
        println!("VIOLATED: {violation}");
    }
    Ok(if audited.violations.is_empty() && audited.pending == 0 {
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
        .map(|name| named(name).with_context(|| format!("no outage is called {name}; --list shows all")))
        .collect()
}

fn print_result(result: &OutageResult) {
    println!(
        "{:<14} {:<14} fired after {:>3.0} s of {:>3.0}; {} steps of the runbook; also {:?}",
        result.outage.name,
        result.outage.alert,
        result.fired_after.as_secs_f64(),
        result.deadline.as_secs_f64(),
        result.blocks_run,
        result.other_alerts
    );
}
