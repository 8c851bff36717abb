//! Shows that the tests can fail: takes one guard out of a copy of the tree at a time, and expects its tests to turn red.
//!
//! A guard is a named item (a function, a constant, a shell function); `guards.toml` says what stands in place of its
//! body and which tests notice. docs/MUTANTS.md tells the rest.

mod changed;
mod check;
mod guards;
mod items;
mod page;
mod pure_rooms;
mod run;
mod source;
mod state;
mod tests_by_name;
mod tree;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;

use crate::guards::Register;
use crate::pure_rooms::PureRooms;
use crate::run::Shard;
use crate::source::Source;

#[derive(Debug, Parser)]
#[command(about = "Takes one guard out at a time and expects its tests to turn red (docs/MUTANTS.md)")]
struct Cli {
    /// Only guards with all of these words in what is lost or in the item
    words: Vec<String>,
    /// Print the chosen guards and stop
    #[arg(long)]
    list: bool,
    /// Only check that every item and test that is named exists, and that the page is up to date
    #[arg(long)]
    check: bool,
    /// Write the table of docs/MUTANTS.md anew
    #[arg(long)]
    write_page: bool,
    /// Only guards whose item, or a file of it, differs in this range of commits, or since this commit
    #[arg(long, value_name = "RANGE")]
    changed: Option<String>,
    /// Only the k-th of n parts
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
    /// Forget what an earlier run over the same tree has shown
    #[arg(long)]
    again: bool,
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let root = tree::workspace()?;
    let source = Source::read(&root)?;
    let register = Register::load(&root)?;
    if cli.write_page {
        page::write(&root, &register)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut problems = check::problems(&source, &register, &PureRooms::read(&root)?);
    if cli.check {
        problems.extend(page::problem(&root, &register)?);
    }
    for problem in &problems {
        eprintln!("mutants: {problem}");
    }
    if !problems.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    if cli.check {
        return Ok(ExitCode::SUCCESS);
    }

    let mut chosen = register.guards_with(&cli.words);
    if let Some(range) = &cli.changed {
        let diff = changed::Diff::read(&root, range)?;
        chosen.retain(|guard| diff.touches(guard, &source));
        if chosen.is_empty() {
            println!("no guard is in the diff of {range}");
            return Ok(ExitCode::SUCCESS);
        }
    }
    if chosen.is_empty() {
        bail!("no guard has {} in its name: --list", cli.words.join(" and "));
    }
    if let Some(shard) = cli.shard {
        chosen = shard.part(chosen);
    }
    if cli.list {
        for guard in chosen {
            println!("{}  ({})", guard.lost, guard.items().join(", "));
        }
        return Ok(ExitCode::SUCCESS);
    }
    run::all(&root, &chosen, cli.again)
}
