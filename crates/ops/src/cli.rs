//! The shape of the command line.

use clap::{Args, Parser, Subcommand};

use crate::commands::{
    audit, compliance, dlq, exceptions, halt, intent, keys, logins, migrate, payments, reconcile, restore,
    sign, signer, topology,
};
use crate::output::Color;

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

#[derive(Args)]
pub struct GlobalOptions {
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Name of the operator, for the audit log [default: $USER]
    #[arg(
        long = "as",
        global = true,
        value_name = "NAME",
        env = "FIATRAILS_OPERATOR",
        hide_env_values = true
    )]
    pub operator: Option<String>,
    /// When to use colour
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "auto|always|never"
    )]
    pub color: Color,
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
