//! How every service begins: with its settings, or with an answer to whoever asked something else.

use clap::{Args, Parser};

use crate::probe;
use crate::settings::{CommandLine, Environment, SettingError, with_flags};

/// The settings of this process. Ends it after `--help`, `--version`, `--check-ready` and wrong arguments.
pub fn settings<S: Parser + Args>() -> Result<S, SettingError> {
    match with_flags::<S>(Environment::of_process(), std::env::args_os()) {
        Ok(CommandLine::Run(environment)) => environment.read(),
        Ok(CommandLine::CheckReady(environment)) => probe::answer(&environment),
        Err(wrong) => wrong.exit(),
    }
}
