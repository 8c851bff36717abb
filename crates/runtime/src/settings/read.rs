//! From declared variables to typed settings, for every program of ours.
//!
//! Left to itself, clap reads the process's environment while it builds a command, takes an empty variable for a
//! value, and quotes what it cannot parse. So a command is only a declaration here: which variables there are, and
//! how each is parsed. The values come from an [`Environment`], which flags of the command line are laid over.

use std::any::TypeId;
use std::error::Error as _;
use std::ffi::OsString;

use clap::builder::{Resettable, StyledStr, ValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, Args, Command, Parser};
use domain::policy::Policy;

use super::secret::file_variable;
use super::{Environment, SecretSource, SettingError, value};

/// Without its two dashes.
pub const CHECK_READY: &str = "check-ready";

/// A declared variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    /// Heading it stands under.
    pub group: String,
    /// May lie in the file that `<name>_FILE` names instead.
    pub secret: bool,
    pub required: bool,
    pub default: Option<String>,
    /// What its value is: a unit, or a form such as `IP:PORT`.
    pub unit: String,
    pub meaning: String,
    flag: String,
}

/// The variables that a command declares, in their order.
pub fn variables(command: &Command) -> Vec<Variable> {
    command.get_arguments().filter_map(Variable::of).collect()
}

impl Variable {
    fn of(arg: &Arg) -> Option<Self> {
        let text = |part: Option<&StyledStr>| part.map(ToString::to_string);
        let default = arg.get_default_values().first();
        Some(Self {
            name: arg.get_env()?.to_str()?.to_owned(),
            group: arg.get_help_heading().unwrap_or("Commands").to_owned(),
            secret: holds::<SecretSource>(arg),
            required: arg.is_required_set(),
            default: default.map(|value| value.to_string_lossy().into_owned()),
            unit: arg.get_value_names()?.first()?.to_string(),
            meaning: text(arg.get_long_help().or(arg.get_help())).unwrap_or_default(),
            flag: arg.get_long()?.to_owned(),
        })
    }

    fn is_set(&self, environment: &Environment) -> bool {
        let in_file = || environment.text(&file_variable(&self.name)).is_some();
        environment.text(&self.name).is_some() || self.secret && in_file()
    }
}

fn holds<T: 'static>(arg: &Arg) -> bool {
    arg.get_value_parser().type_id() == TypeId::of::<T>()
}

/// What a command line asks for, with the variables that its flags were laid over.
pub enum CommandLine {
    Run(Environment),
    CheckReady(Environment),
}

impl Environment {
    /// Settings out of these variables; an empty one counts as not set.
    pub fn read<S: Args>(&self) -> Result<S, SettingError> {
        read(self)
    }
}

/// The command line of a service as people meet it: a flag for each variable that is no secret, and for the file of
/// each that is one.
pub fn command<S: Parser>() -> Command {
    let check = Arg::new(CHECK_READY)
        .long(CHECK_READY)
        .action(ArgAction::SetTrue)
        .help("Ask the service that runs on this machine whether it is ready: exit code 0, or 1 if not");
    let mut places = 0..;
    S::command()
        .mut_args(|arg| shown(arg, places.next().unwrap_or_default()))
        .arg(check)
        .term_width(110)
}

/// Text, and free of conditions: types and what needs what are checked when all variables are read.
fn shown(arg: Arg, place: usize) -> Arg {
    let Some(variable) = Variable::of(&arg) else {
        return arg;
    };
    let Variable {
        name, flag, meaning, ..
    } = variable;
    let (flag, unit, source) = if variable.secret {
        let file = file_variable(&name);
        let source = format!("[env: {name}, or {file} for a file that holds it]");
        (format!("{flag}-file"), "FILE".to_owned(), source)
    } else {
        (flag, variable.unit, format!("[env: {name}]"))
    };
    let default = variable
        .default
        .map_or_else(String::new, |default| format!(" [default: {default}]"));
    Arg::new(arg.get_id().clone())
        .long(flag)
        .value_name(unit)
        .help(format!("{meaning}{default} {source}"))
        .help_heading(variable.group)
        .display_order(place)
}

/// The environment with the flags of this command line laid over it.
pub fn with_flags<S: Parser>(
    mut environment: Environment,
    line: impl IntoIterator<Item = OsString>,
) -> Result<CommandLine, clap::Error> {
    let given = command::<S>().try_get_matches_from(line)?;
    for arg in S::command().get_arguments() {
        let Some(variable) = Variable::of(arg) else {
            continue;
        };
        let id = arg.get_id().as_str();
        if given.value_source(id) == Some(ValueSource::CommandLine)
            && let Some(value) = given.get_one::<String>(id)
        {
            let file = file_variable(&variable.name);
            let name = if variable.secret { &file } else { &variable.name };
            environment.set(name, value);
        }
    }
    Ok(if given.get_flag(CHECK_READY) {
        CommandLine::CheckReady(environment)
    } else {
        CommandLine::Run(environment)
    })
}

fn read<S: Args>(environment: &Environment) -> Result<S, SettingError> {
    let declared = S::augment_args(Command::new("settings"));
    let variables = variables(&declared);
    // A secret is looked up by its parser; clap only hears its name, and can quote no more.
    let spoken = |variable: &Variable| {
        let value = match environment.text(&variable.name) {
            _ if variable.secret => variable.is_set(environment).then_some(variable.name.as_str()),
            Some(text) => Some(text),
            None => variable.default.as_deref(),
        };
        value.map(|value| format!("--{}={value}", variable.flag))
    };
    let line: Vec<String> = variables.iter().filter_map(spoken).collect();
    let command = declared
        .no_binary_name(true)
        .mut_args(|arg| informed(arg, environment));
    let matches = command.try_get_matches_from(line);
    matches
        .and_then(|matches| S::from_arg_matches(&matches))
        .map_err(|error| named(&error, &variables))
}

/// Parses with what this environment says besides the variable's own text.
fn informed(arg: Arg, environment: &Environment) -> Arg {
    let environment = environment.clone();
    let arg = if holds::<SecretSource>(&arg) {
        arg.value_parser(ValueParser::new(move |name: &str| {
            SecretSource::find(&environment, name)
        }))
    } else if holds::<Policy>(&arg) {
        arg.value_parser(ValueParser::new(move |path: &str| {
            value::overridden_policy(path, environment.policy_overrides())
        }))
    } else {
        arg
    };
    arg.env(Resettable::Reset).default_value(Resettable::Reset)
}

/// clap speaks of flags and quotes values; we speak of variables and say what would be right.
fn named(error: &clap::Error, variables: &[Variable]) -> SettingError {
    if let Some(own) = error.source().and_then(|source| source.downcast_ref()) {
        return SettingError::clone(own);
    }
    let meant = |argument: &String| {
        let flag = argument.trim_start_matches('-').split([' ', '=']).next();
        variables
            .iter()
            .find(|variable| Some(variable.flag.as_str()) == flag)
    };
    let argument = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => Some(argument),
        Some(ContextValue::Strings(arguments)) => arguments.first(),
        _ => None,
    };
    let Some(variable) = argument.and_then(meant) else {
        return SettingError::invalid("settings", error.kind());
    };
    if error.kind() == ErrorKind::MissingRequiredArgument {
        return SettingError::Missing(variable.name.clone());
    }
    let problem = error
        .source()
        .map_or_else(|| error.kind().to_string(), ToString::to_string);
    SettingError::invalid(&variable.name, format!("{problem}; write {}", variable.unit))
}

#[cfg(test)]
mod tests;
