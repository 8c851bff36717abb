//! The operator's command line, binary `fiatrails`: migrate, inspect, replay, rotate, reconcile, halt, sign.
//!
//! Every action leaves an audit row (who, what, why). An action that can move money is sent as a sealed message and never
//! edits a row. Secrets are read from the environment or from files and printed only on request.

mod cli;
mod commands;
mod completion;
mod confirm;
mod context;
mod key_files;
pub mod observe;
mod output;
pub mod settings;
mod text;
mod user_error;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

pub use runtime::Environment;

use cli::Cli;
use completion::Completion;
use context::CommandContext;
use output::Output;

/// Exit code of a command that failed: wrong usage, a wrong setting, a dependency.
const EXIT_FAILURE: u8 = 2;

/// Parses the arguments, runs the command and returns its exit code.
pub async fn main(args: impl IntoIterator<Item = OsString>, environment: Environment) -> ExitCode {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version go to standard output and are no error.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(EXIT_FAILURE));
        }
    };
    let cli = match Cli::from_arg_matches(&matches) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let mut out = Output::new(cli.global.json, cli.global.color);
    let context = CommandContext::new(environment, &cli.global);
    match cli.command.run(&context, &mut out).await {
        Ok(Completion::Success) => ExitCode::SUCCESS,
        Ok(Completion::Negative) => ExitCode::from(1),
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            out.error(&error);
            ExitCode::from(EXIT_FAILURE)
        }
    }
}

/// The clap command, with a fixed width so that the help is the same on every terminal.
fn command() -> clap::Command {
    Cli::command().term_width(100)
}

/// Every variable that some command reads, for `docs/SETTINGS.md`.
pub fn variables() -> Vec<runtime::settings::Variable> {
    settings::all(&command())
}

/// Checks that the words after the program's name are a valid command line. A test checks all commands in the manuals.
///
/// # Errors
/// The usage error that the command line would print.
pub fn understands(words: &[String]) -> Result<(), clap::Error> {
    let line = std::iter::once("fiatrails").chain(words.iter().map(String::as_str));
    command().try_get_matches_from(line).map(drop)
}

/// Renders every command's help as one document; a test compares `docs/CLI.md` with it.
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
