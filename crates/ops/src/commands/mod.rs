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

use crate::Verdict;
use crate::cli::Command;
use crate::context::Context;
use crate::output::Output;

pub async fn run(context: &Context, out: &mut Output, command: Command) -> Result<Verdict> {
    match command {
        Command::Migrate(args) => migrate::run(context, out, &args).await,
        Command::Topology(args) => topology::run(context, out, &args).await,
        Command::Intent(args) => intent::run(context, out, &args).await,
        Command::Dlq(args) => dlq::run(context, out, &args).await,
        Command::Keys(args) => keys::run(context, out, &args).await,
        Command::Logins(args) => logins::run(context, out, &args).await,
        Command::Signer(args) => signer::run(context, out, &args).await,
        Command::Compliance(args) => compliance::run(context, out, &args).await,
        Command::Reconcile(args) => reconcile::run(context, out, &args).await,
        Command::Restore(args) => restore::run(context, out, &args).await,
        Command::Exceptions(args) => exceptions::run(context, out, &args).await,
        Command::Payments(args) => payments::run(context, out, &args).await,
        Command::Halt(args) => halt::halt(context, out, &args).await,
        Command::Resume(args) => halt::resume(context, out, &args).await,
        Command::Audit(args) => audit::run(context, out, &args).await,
        Command::Sign(args) => sign::run(context, out, &args),
    }
}
