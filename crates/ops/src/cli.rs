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
        Secrets come from a variable or from the file that <NAME>_FILE names, never from the command line.\n\n\
        Exit codes: 0 done; 1 done, and the answer is no (differences, nothing found, some entries failed); \
        2 not done."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Args)]
pub struct Global {
    /// Print one JSON document instead of text
    #[arg(long, global = true)]
    pub json: bool,
    /// Who acts, for the audit log [default: $USER]
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
pub enum Command {
    Migrate(migrate::Migrate),
    #[command(subcommand)]
    Topology(topology::Topology),
    #[command(subcommand)]
    Intent(intent::Intent),
    #[command(subcommand)]
    Dlq(dlq::Dlq),
    #[command(subcommand)]
    Keys(keys::Keys),
    #[command(subcommand)]
    Logins(logins::Logins),
    #[command(subcommand)]
    Signer(signer::Signer),
    #[command(subcommand)]
    Compliance(compliance::Compliance),
    Reconcile(reconcile::Reconcile),
    #[command(subcommand)]
    Restore(restore::Restore),
    #[command(subcommand)]
    Exceptions(exceptions::Exceptions),
    #[command(subcommand)]
    Payments(payments::Payments),
    Halt(halt::Halt),
    Resume(halt::Resume),
    Audit(audit::Audit),
    #[command(subcommand)]
    Sign(sign::Sign),
}
