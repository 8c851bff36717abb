//! Variables that files of the repository read, by how shells, compose, node and Rust spell that.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use testkit::dirs::workspace;

/// Of every shell and every machine.
const NOT_OURS: [&str; 8] = [
    "SECONDS",
    "BASH_REMATCH",
    "PWD",
    "PATH",
    "HOME",
    "LANG",
    "TMPDIR",
    "RUST_BACKTRACE",
];

/// Files and the variables in them.
pub fn variables() -> Result<Vec<(String, String)>> {
    let mut files = vec![workspace().join("compose.yaml")];
    for folder in ["deploy", "scripts", "crates"] {
        below(&workspace().join(folder), &mut files)?;
    }
    let mut found = Vec::new();
    for file in files {
        // Pictures and the like are none of ours.
        let Ok(text) = fs::read_to_string(&file) else {
            continue;
        };
        let shown = file.strip_prefix(workspace())?.display().to_string();
        let names = if file.extension().is_some_and(|extension| extension == "rs") {
            in_rust(&text)
        } else {
            in_scripts(&text)
        };
        let names = names.into_iter().filter(|name| !NOT_OURS.contains(name));
        found.extend(names.map(|name| (shown.clone(), name.to_owned())));
    }
    Ok(found)
}

fn below(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            files.push(entry.path());
        } else if entry.file_name() != "secrets" {
            below(&entry.path(), files)?;
        }
    }
    Ok(())
}

/// `std::env::var("X")` and the like; what is declared to clap is on the page by itself.
fn in_rust(text: &str) -> Vec<&str> {
    ["env::var(\"", "env::var_os(\"", "\"TESTKIT_"]
        .iter()
        .flat_map(|call| text.match_indices(call).map(|(at, _)| at))
        .filter_map(|at| name_at(&text[at + text[at..].find('"')? + 1..]))
        .collect()
}

/// `$X`, `${X:-..}`, `process.env.X`, a key of an `environment:`, and whatever begins as ours do. A variable that the
/// same file sets is its own.
fn in_scripts(text: &str) -> Vec<&str> {
    let after = |mark: &'static str| {
        text.match_indices(mark)
            .filter_map(move |(at, _)| name_at(&text[at + mark.len()..]))
    };
    let keys = text.lines().filter_map(|line| {
        let name = name_at(line.trim_start())?;
        line.trim_start()[name.len()..].starts_with(": ").then_some(name)
    });
    let ours = text
        .match_indices("FIATRAILS_")
        .filter_map(|(at, _)| name_at(&text[at..]));
    after("$")
        .chain(after("${"))
        .chain(after("process.env."))
        .chain(keys)
        .chain(ours)
        .filter(|name| !is_set_in(text, name))
        .collect()
}

/// A name of capitals at the beginning of this text.
fn name_at(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'));
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    let whole = !rest.starts_with(|c: char| c.is_ascii_lowercase());
    let bounded = whole && name.starts_with(|c: char| c.is_ascii_uppercase()) && !name.ends_with('_');
    (bounded && name.len() > 3).then_some(name)
}

/// `X=..` at the beginning of a line or after `for`, without `${X` in it.
fn is_set_in(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        let line = line.trim_start();
        let value = line.strip_prefix(name).and_then(|rest| rest.strip_prefix('='));
        value.is_some_and(|value| !value.contains(name))
    })
}
