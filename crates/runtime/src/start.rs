//! How every service begins, runs and ends. `main` calls [`run`] with the service's `build`, which spawns the tasks of
//! the service on its [`Process`].

use clap::{Args, Parser};

use crate::lifecycle::LifecycleError;
use crate::probe;
use crate::process::{Process, StartError};
use crate::settings::{CommandLine, Environment, ServiceSettings, SettingError, with_flags};

/// Why a service did not start, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Lifecycle(#[from] LifecycleError),
}

/// Reads the settings, builds the service, and runs it until SIGTERM or SIGINT. Ends the process after `--help`,
/// `--version`, `--check-ready` and wrong arguments.
pub async fn run<S: ServiceSettings, A>(
    build: impl FnOnce(&S, &mut Process) -> Result<A, StartError>,
) -> Result<(), RunError> {
    let settings: S = settings().map_err(StartError::from)?;
    let mut process = Process::of(&settings)?;
    let app = build(&settings, &mut process)?;
    process.stop_on_signals()?;
    process.run_until_stopped().await?;
    drop(app);
    Ok(())
}

/// The settings of this process.
fn settings<S: Parser + Args>() -> Result<S, SettingError> {
    match with_flags::<S>(Environment::of_process(), std::env::args_os()) {
        Ok(CommandLine::Run(environment)) => environment.read(),
        Ok(CommandLine::CheckReady(environment)) => probe::answer(&environment),
        Err(wrong) => wrong.exit(),
    }
}
