//! The shape of the command line.

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::commands::{
    audit, compliance, dlq, exceptions, halt, intent, keys, logins, migrate, payments, reconcile, restore,
    sign, signer, topology,
};
use crate::completion::Completion;
use crate::context::{CommandContext, GlobalOptions};
use crate::output::Output;

/// Operates FiatRails: migrate, inspect, replay, rotate, reconcile, halt, sign.
#[derive(Parser)]
#[command(
    name = "fiatrails",
    version,
    subcommand_required = true,
    arg_required_else_help = true,
    after_long_help = "Settings come from the environment; after `make up`: `. .stack/env`.\n\
        Secrets are read from a variable or from the file that <NAME>_FILE names, never from the command line.\n\n\
        Exit codes: 0 success; 1 completed with a negative result (differences, nothing found, some entries failed); \
        2 failed."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: GlobalOptions,
    #[command(subcommand)]
    pub command: CliCommand,
}

#[derive(Subcommand)]
pub enum CliCommand {
    Migrate(migrate::Migrate),
    #[command(subcommand)]
    Topology(topology::TopologyCommand),
    #[command(subcommand)]
    Intent(intent::IntentCommand),
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    #[command(subcommand)]
    Logins(logins::LoginsCommand),
    #[command(subcommand)]
    Signer(signer::SignerCommand),
    #[command(subcommand)]
    Compliance(compliance::ComplianceCommand),
    Reconcile(reconcile::Reconcile),
    #[command(subcommand)]
    Restore(restore::RestoreCommand),
    #[command(subcommand)]
    Exceptions(exceptions::ExceptionsCommand),
    #[command(subcommand)]
    Payments(payments::PaymentsCommand),
    Halt(halt::HaltCommand),
    Resume(halt::ResumeCommand),
    Audit(audit::Audit),
    #[command(subcommand)]
    Sign(sign::SignCommand),
}

impl CliCommand {
    pub async fn run(self, context: &CommandContext, out: &mut Output) -> Result<Completion> {
        match self {
            Self::Migrate(args) => migrate::run(context, out, &args).await,
            Self::Topology(args) => topology::run(context, out, &args).await,
            Self::Intent(args) => intent::run(context, out, &args).await,
            Self::Dlq(args) => dlq::run(context, out, &args).await,
            Self::Keys(args) => keys::run(context, out, &args).await,
            Self::Logins(args) => logins::run(context, out, &args).await,
            Self::Signer(args) => signer::run(context, out, &args).await,
            Self::Compliance(args) => compliance::run(context, out, &args).await,
            Self::Reconcile(args) => reconcile::run(context, out, &args).await,
            Self::Restore(args) => restore::run(context, out, &args).await,
            Self::Exceptions(args) => exceptions::run(context, out, &args).await,
            Self::Payments(args) => payments::run(context, out, &args).await,
            Self::Halt(args) => halt::halt(context, out, &args).await,
            Self::Resume(args) => halt::resume(context, out, &args).await,
            Self::Audit(args) => audit::run(context, out, &args).await,
            Self::Sign(args) => sign::run(context, out, &args),
        }
    }
}
