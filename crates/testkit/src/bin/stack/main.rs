//! The development stack's driver: `stack up`, `stack down`, `stack demo`, and the servers tests share.

mod demo;
mod infra;
mod pids;
mod services;
mod stack;
mod state;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;

use clap::{Args, Parser, Subcommand};
use testkit::process::Lifetime;

use stack::{ChainOptions, Stack};

#[derive(Parser)]
#[command(
    name = "stack",
    about = "Starts and stops private development servers and services"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Start whatever of the stack is not running; settings go to DIR/env
    Up {
        #[command(flatten)]
        chain: Chain,
        #[arg(long, default_value = ".stack")]
        dir: PathBuf,
    },
    /// Stop the stack and forget its data
    Down {
        #[arg(long, default_value = ".stack")]
        dir: PathBuf,
    },
    /// Push a payment through a stack of its own, showing each step, and check the balances
    Demo {
        /// Use the running services that the variables of `.stack/env` name
        #[arg(long)]
        running: bool,
        #[arg(long, default_value = ".stack/demo")]
        dir: PathBuf,
    },
    /// The PostgreSQL, RabbitMQ and chain snapshot that tests share
    Services {
        #[command(subcommand)]
        command: ServicesCommand,
    },
}

#[derive(Args)]
struct Chain {
    /// Seconds between blocks
    #[arg(long, default_value_t = 2.0)]
    block_time: f64,
    #[arg(long, default_value_t = 30_000_000)]
    gas_limit: u64,
}

#[derive(Subcommand)]
enum ServicesCommand {
    /// Start whatever is not running and write the TESTKIT_* settings
    Up {
        #[arg(long)]
        dir: PathBuf,
        /// A shell-sourceable file of `export NAME='value'` lines
        #[arg(long)]
        env_out: PathBuf,
    },
    /// Run a command with servers of its own, which end with it
    Run {
        #[arg(trailing_var_arg = true, required = true)]
        command: Vec<String>,
    },
    /// Stop them and remove the directory
    Down {
        #[arg(long)]
        dir: PathBuf,
    },
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    match Cli::parse().command {
        Command::Up { chain, dir } => {
            let options = ChainOptions {
                block_time: chain.block_time,
                gas_limit: chain.gas_limit,
            };
            let stack = Stack::up(&dir, options, Lifetime::Detached).await?;
            println!("ready; settings: . {}", stack.env_file().display());
        }
        Command::Down { dir } => stack::down(&dir)?,
        Command::Demo { running: true, .. } => demo::against_running().await?,
        Command::Demo { running: false, dir } => demo::on_own_stack(&dir).await?,
        Command::Services { command } => match command {
            ServicesCommand::Up { dir, env_out } => services::up(&dir, &env_out).await?,
            ServicesCommand::Run { command } => return services::run(&command).await,
            ServicesCommand::Down { dir } => services::down(&dir)?,
        },
    }
    Ok(ExitCode::SUCCESS)
}
