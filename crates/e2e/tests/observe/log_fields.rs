//! `docs/LOGGING.md` must list exactly the fields that our log lines can have.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use proc_macro2::{TokenStream, TokenTree};

use crate::logs::LOGGING;

/// Fields that the formatter itself writes.
const OF_ANY_LINE: [&str; 6] = ["timestamp", "level", "target", "message", "spans", "name"];
/// Arguments of the macros that are not fields.
const SETTINGS: [&str; 3] = ["target", "parent", "name"];
const MACROS: [&str; 8] = [
    "trace",
    "debug",
    "info",
    "warn",
    "error",
    "info_span",
    "debug_span",
    "error_span",
];

/// The names in the first column of the page's table of fields.
pub fn listed() -> Result<BTreeSet<String>> {
    let table = LOGGING
        .split("| field | what it is |")
        .nth(1)
        .and_then(|rest| rest.split("\n\n").next())
        .context("no table of fields")?;
    let first = |row: &str| row.split('|').nth(1).unwrap_or_default().to_owned();
    let names = |cell: String| {
        let quoted = cell.split('`').skip(1).step_by(2);
        quoted.map(str::to_owned).collect::<Vec<_>>()
    };
    Ok(table.lines().map(first).flat_map(names).collect())
}

#[test]
fn every_field_of_a_log_line_is_in_its_page() -> Result<()> {
    let mut written: BTreeSet<String> = OF_ANY_LINE.map(str::to_owned).into();
    for file in sources()? {
        let text = fs::read_to_string(&file)?;
        let code: TokenStream = text
            .parse()
            .map_err(|error| anyhow!("{}: {error}", file.display()))?;
        collect(code, &mut written);
    }
    let listed = listed()?;
    let unlisted: Vec<_> = written.difference(&listed).collect();
    let unwritten: Vec<_> = listed.difference(&written).collect();
    ensure!(
        unlisted.is_empty() && unwritten.is_empty(),
        "docs/LOGGING.md lacks {unlisted:?} and lists {unwritten:?}, which no line has"
    );
    Ok(())
}

fn sources() -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(testkit::dirs::workspace().join("crates"))? {
        rust_files(&entry?.path().join("src"), &mut found)?;
    }
    ensure!(found.len() > 100, "only {} source files", found.len());
    Ok(found)
}

fn rust_files(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() {
            rust_files(&path, found)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// Fields of every `tracing::<macro>!(...)`, however deep.
fn collect(code: TokenStream, found: &mut BTreeSet<String>) {
    let tokens: Vec<TokenTree> = code.into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        let TokenTree::Group(group) = token else {
            continue;
        };
        collect(group.stream(), found);
        let before: Vec<String> = tokens[at.saturating_sub(5)..at]
            .iter()
            .map(ToString::to_string)
            .collect();
        let before: Vec<&str> = before.iter().map(String::as_str).collect();
        if let ["tracing", ":", ":", called, "!"] = before[..]
            && MACROS.contains(&called)
        {
            found.extend(fields(group.stream()));
        }
    }
}

/// `name`, `%name`, `?name` or `name = value` of each argument but the text.
fn fields(arguments: TokenStream) -> Vec<String> {
    let tokens: Vec<TokenTree> = arguments.into_iter().collect();
    let comma = |token: &TokenTree| matches!(token, TokenTree::Punct(p) if p.as_char() == ',');
    let words = |argument: &[TokenTree]| -> String {
        let name = argument
            .iter()
            .map(ToString::to_string)
            .skip_while(|token| token == "%" || token == "?");
        name.take_while(|token| token != "=").collect()
    };
    tokens
        .split(comma)
        .map(words)
        .filter(|name| {
            !name.is_empty()
                && !name.starts_with('"')
                && !SETTINGS.iter().any(|s| name.starts_with(&format!("{s}:")))
        })
        .collect()
}
