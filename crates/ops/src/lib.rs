//! The operator's hand tool, binary `fiatrails`: migrate, inspect, replay, rotate, reconcile, halt, sign.
//!
//! Every act leaves an audit row (who, what, why). An act that can move money goes as a sealed message, never as
//! an edited row. Secrets are read from the environment or from files and never printed unless asked for.

mod cli;
mod commands;
mod confirm;
mod context;
mod key_files;
pub mod observe;
mod output;
mod problem;
mod text;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

pub use runtime::Environment;

use cli::Cli;
use context::Context;
use output::Output;

/// How a command ended that could be carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Exit code 0.
    Yes,
    /// Exit code 1: it was carried out, and the answer is no (a difference, nothing found, some entries failed).
    No,
}

/// Exit code of what could not be carried out: wrong usage, a setting, a dependency.
const NOT_DONE: u8 = 2;

/// Reads the arguments, does the command, and says how it ended.
pub async fn main(args: impl IntoIterator<Item = OsString>, environment: Environment) -> ExitCode {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version go to standard output and are no error.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(NOT_DONE));
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let mut out = Output::new(cli.global.json, cli.global.color);
    let context = Context::new(environment, &cli.global);
    match commands::run(&context, &mut out, cli.command).await {
        Ok(Verdict::Yes) => ExitCode::SUCCESS,
        Ok(Verdict::No) => ExitCode::from(1),
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error);
            ExitCode::from(NOT_DONE)
        }
    }
}

/// The whole command line, with a fixed width so that its help is the same on every terminal.
fn command() -> clap::Command {
    Cli::command().term_width(100)
}

/// Whether these words after the program's name are a command line of ours: every command of the manuals is.
///
/// # Errors
/// What the person who typed them would be told.
pub fn understands(words: &[String]) -> Result<(), clap::Error> {
    let line = std::iter::once("fiatrails").chain(words.iter().map(String::as_str));
    command().try_get_matches_from(line).map(drop)
}

/// Every command's help in one document; `docs/CLI.md` is compared with it.
pub fn reference() -> String {
    let mut text = String::from(
        "# `fiatrails`, the operator's command line\n\n\
         Written from `--help`. Renew with `FIATRAILS_WRITE_DOCS=1 cargo nextest run -p ops cli_reference`.\n",
    );
    let mut root = command();
    root.build();
    describe(&mut root, "fiatrails", &mut text);
    text
}

fn describe(command: &mut clap::Command, name: &str, text: &mut String) {
    let help = command.render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    text.push_str(
        &[
            "\n## `",
            name,
            "`\n\n```\n",
            lines.join("\n").trim_end(),
            "\n```\n",
        ]
        .concat(),
    );
    let below: Vec<String> = command
        .get_subcommands()
        .filter(|sub| sub.get_name() != "help")
        .map(|sub| sub.get_name().to_owned())
        .collect();
    for sub in below {
        if let Some(found) = command.find_subcommand_mut(&sub) {
            describe(found, &format!("{name} {sub}"), text);
        }
    }
}
