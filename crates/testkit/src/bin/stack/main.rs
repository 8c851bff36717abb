//! The development stack's driver: `stack up`, `stack down`, `stack demo`, and the servers tests share.

mod infra;
mod pids;
mod services;
mod state;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};

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
    /// The PostgreSQL, RabbitMQ and chain snapshot that tests share
    Services {
        #[command(subcommand)]
        command: ServicesCommand,
    },
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
        Command::Services { command } => match command {
            ServicesCommand::Up { dir, env_out } => services::up(&dir, &env_out).await?,
            ServicesCommand::Run { command } => return services::run(&command).await,
            ServicesCommand::Down { dir } => services::down(&dir)?,
        },
    }
    Ok(ExitCode::SUCCESS)
}
