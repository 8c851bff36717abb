//! One module per command.

pub mod audit;
pub mod compliance;
pub mod dlq;
pub mod exceptions;
pub mod halt;
pub mod intent;
pub mod keys;
pub mod logins;
pub mod migrate;
pub mod payments;
pub mod reconcile;
pub mod restore;
pub mod sign;
pub mod signer;
pub mod topology;

use anyhow::Result;

use crate::Completion;
use crate::cli::CliCommand;
use crate::context::CommandContext;
use crate::output::Output;

pub async fn run(context: &CommandContext, out: &mut Output, command: CliCommand) -> Result<Completion> {
    match command {
        CliCommand::Migrate(args) => migrate::run(context, out, &args).await,
        CliCommand::Topology(args) => topology::run(context, out, &args).await,
        CliCommand::Intent(args) => intent::run(context, out, &args).await,
        CliCommand::Dlq(args) => dlq::run(context, out, &args).await,
        CliCommand::Keys(args) => keys::run(context, out, &args).await,
        CliCommand::Logins(args) => logins::run(context, out, &args).await,
        CliCommand::Signer(args) => signer::run(context, out, &args).await,
        CliCommand::Compliance(args) => compliance::run(context, out, &args).await,
        CliCommand::Reconcile(args) => reconcile::run(context, out, &args).await,
        CliCommand::Restore(args) => restore::run(context, out, &args).await,
        CliCommand::Exceptions(args) => exceptions::run(context, out, &args).await,
        CliCommand::Payments(args) => payments::run(context, out, &args).await,
        CliCommand::Halt(args) => halt::halt(context, out, &args).await,
        CliCommand::Resume(args) => halt::resume(context, out, &args).await,
        CliCommand::Audit(args) => audit::run(context, out, &args).await,
        CliCommand::Sign(args) => sign::run(context, out, &args),
    }
}
