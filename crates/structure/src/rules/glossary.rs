//! The glossary leads from a word to the code: each type, table and column that it names is there.

use std::collections::{BTreeMap, BTreeSet};

use crate::markdown;
use crate::offender::Offender;
use crate::rules::{PRODUCT, is_test_file};
use crate::tree::Tree;

pub const NAME: &str = "glossary";

const PAGE: &str = "docs/GLOSSARY.md";

pub fn check(tree: &Tree) -> Vec<Offender> {
    let Some(page) = tree.files.get(PAGE) else {
        return Vec::new();
    };
    let (names, tables) = (names(tree), tables(tree));
    let has_column =
        |table: &str, column: &str| tables.get(table).is_some_and(|words| words.contains(column));
    let mut found = Vec::new();
    for (line, quoted) in quoted(page, "type") {
        if !names.contains(quoted) {
            let message = format!("no type is called `{quoted}`");
            found.push(Offender::new(NAME, PAGE, line, message));
        }
    }
    for (line, quoted) in quoted(page, "table or column") {
        let is_there = match quoted.split_once('.') {
            Some((table, column)) => has_column(table, column),
            None => tables.contains_key(quoted),
        };
        if !is_there {
            let message = format!("no table or column is called `{quoted}`");
            found.push(Offender::new(NAME, PAGE, line, message));
        }
    }
    found
}

/// What stands in backquotes in the column with this heading.
fn quoted<'a>(page: &'a str, heading: &str) -> impl Iterator<Item = (usize, &'a str)> {
    markdown::column(page, |text| text == heading)
        .into_iter()
        .flat_map(|(line, cell)| cell.split('`').skip(1).step_by(2).map(move |name| (line, name)))
}

/// Words of the product's code, its comments left out: a macro may define a type that the grammar does not see.
fn names(tree: &Tree) -> BTreeSet<&str> {
    let is_code = |path: &str| {
        PRODUCT
            .iter()
            .any(|name| path.starts_with(&format!("crates/{name}/src/")))
    };
    tree.files
        .iter()
        .filter(|(path, _)| is_code(path) && !is_test_file(path))
        .flat_map(|(_, text)| text.lines().map(str::trim_start))
        .filter(|line| !line.starts_with("//"))
        .flat_map(words)
        .collect()
}

/// Tables by name, with the words of the statements that make them and add to them.
fn tables(tree: &Tree) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut tables: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let mut table = None;
    let migrations = tree
        .files
        .iter()
        .filter(|(path, _)| path.starts_with("migrations/V"));
    for line in migrations.flat_map(|(_, text)| text.lines()) {
        let statement = line.split("--").next().unwrap_or_default();
        table = table_of(statement).or(table);
        if let Some(name) = table {
            tables.entry(name).or_default().extend(words(statement));
        }
        if statement.trim_end().ends_with(';') {
            table = None;
        }
    }
    tables
}

/// The table that this line begins to make or to change.
fn table_of(line: &str) -> Option<&str> {
    let begins = ["CREATE TABLE ", "ALTER TABLE "];
    let rest = begins.into_iter().find_map(|begin| line.split_once(begin))?.1;
    words(rest).find(|word| !["IF", "NOT", "EXISTS", "ONLY", "public"].contains(word))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_tables_and_columns_that_are_named_are_there() {
        let page = "| word | meaning | type | table or column |\n|---|---|---|---|\n\
                    | one | `x` | `TxRef`, `Gone` | `payments.amount`, `payments.colour` |\n\
                    | two | y | `Report` | `payments`, `outbox`, `nothing` |\n";
        let found = check(&Tree::planted(&[
            (PAGE, page),
            (
                "crates/domain/src/lib.rs",
                "text!(TxRef);\npub struct Report;\n// once: Gone\n",
            ),
            (
                "migrations/V1__all.sql",
                "CREATE TABLE public.payments (\n    -- whole; never less\n    amount numeric\n);\nCREATE TABLE outbox (LIKE payments);\n",
            ),
        ]));
        let messages: Vec<_> = found
            .iter()
            .map(|found| (found.line, found.message.as_str()))
            .collect();
        assert_eq!(
            messages,
            [
                (3, "no type is called `Gone`"),
                (3, "no table or column is called `payments.colour`"),
                (4, "no table or column is called `nothing`"),
            ]
        );
    }
}
