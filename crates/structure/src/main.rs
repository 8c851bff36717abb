//! `structure`: the shape of the tree, checked.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use structure::ratchet::{self, Ratchet};
use structure::report::{Report, Style};
use structure::rules;
use structure::tree::Tree;

const RATCHET: &str = "crates/structure/ratchet.toml";

/// Checks the shape of the source tree: dependencies, circles of modules, names, lengths, parameters, and what
/// documents refer to. Ends with 1 when there are more offenders than crates/structure/ratchet.toml tolerates.
#[derive(Debug, Parser)]
#[command(
    name = "structure",
    after_help = "Examples:\n  \
        structure                       what is worse than tolerated, and one line for each rule\n  \
        structure --all                 what is tolerated for now as well\n  \
        structure --all --rule circles  one rule alone\n  \
        structure --json | jq '.offenders[] | select(.group == \"gateway\")'\n  \
        structure --tighten             after an improvement: lower the numbers in the ratchet"
)]
struct Arguments {
    /// Show offenders that are tolerated for now as well
    #[arg(long)]
    all: bool,
    /// Show one rule alone; can be given several times
    #[arg(long = "rule", value_name = "RULE", value_parser = known_rule)]
    rules: Vec<String>,
    /// Print the report as JSON, with all offenders
    #[arg(long)]
    json: bool,
    /// Lower the numbers of the ratchet to what is found; no number is raised
    #[arg(long)]
    tighten: bool,
    /// Root of the repository
    #[arg(long, value_name = "FOLDER", default_value_os_t = root())]
    root: PathBuf,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn known_rule(name: &str) -> Result<String, String> {
    let mut names = rules::RULES.iter().map(|rule| rule.name);
    if names.clone().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let known: Vec<_> = names.by_ref().collect();
    Err(format!("the rules are {}", known.join(", ")))
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let path = arguments.root.join(RATCHET);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let ratchet = Ratchet::parse(&text)?;
    let tree = Tree::read(&arguments.root)?;
    let mut offenders = rules::offenders(&tree, &ratchet.names_that_may_be_shared());
    let mut counts = ratchet.compare(&offenders);
    if arguments.tighten {
        std::fs::write(&path, ratchet::tighten(&text, &counts))?;
        counts = Ratchet::parse(&std::fs::read_to_string(&path)?)?.compare(&offenders);
    }
    if !arguments.rules.is_empty() {
        offenders.retain(|offender| arguments.rules.iter().any(|rule| rule == offender.rule));
        counts.retain(|count| arguments.rules.iter().any(|rule| rule == count.rule));
    }
    let report = Report::new(counts, offenders);
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        let style = Style {
            all: arguments.all,
            colour: std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        print!("{}", report.text(style));
    }
    Ok(ExitCode::from(u8::from(report.red)))
}
