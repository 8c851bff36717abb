//! A document that says "this test proves it" is worth something only while the test is there. Three kinds of names:
//! what a table has in a column of proofs; long names in backquotes anywhere; and filters by which scripts choose tests.

use std::collections::{BTreeMap, BTreeSet};

use crate::markdown;
use crate::offender::Offender;
use crate::tree::{Tree, ends_in};

pub const NAME: &str = "named-tests";

/// Headings over columns of tests.
const PROOFS: [&str; 6] = ["proof", "proofs", "test", "tests", "proven by", "killed by"];

pub fn check(tree: &Tree) -> Vec<Offender> {
    let proofs = proofs(tree);
    let mut found = Vec::new();
    for (path, text) in &tree.files {
        if path.starts_with("crates/structure/") {
            continue;
        }
        if ends_in(path, "md") {
            found.extend(in_tables(path, text, &proofs));
        } else if !ends_in(path, "rs") {
            found.extend(in_filters(path, text, &proofs));
        }
    }
    found.extend(unknown_names(tree));
    found.sort();
    found.dedup_by(|a, b| (&a.file, a.line, &a.message) == (&b.file, b.line, &b.message));
    found
}

/// Everything that proves: Rust and Solidity tests, the files and modules they stand in, and scripts.
fn proofs(tree: &Tree) -> BTreeSet<&str> {
    let mut proofs = BTreeSet::new();
    for (path, text) in &tree.files {
        let stem = path.rsplit('/').next().unwrap_or_default();
        if path.starts_with("contracts/test/") {
            proofs.insert(stem);
            proofs.insert(stem.split('.').next().unwrap_or_default());
            proofs.extend(text.lines().filter_map(|line| name_after(line, "function ")));
        } else if path.starts_with("crates/") && ends_in(path, "rs") {
            proofs.extend(rust_tests(text));
            if path.contains("/tests/") {
                proofs.insert(stem.trim_end_matches(".rs"));
            }
        } else if path.starts_with("scripts/") || path.starts_with("contracts/tools/") {
            proofs.insert(stem);
        }
    }
    proofs
}

/// Read by lines, not by grammar: macros that make tests are no grammar.
fn rust_tests(text: &str) -> impl Iterator<Item = &str> {
    let mut marked = false;
    text.lines().filter_map(move |line| {
        let line = line.trim_start();
        marked |= line.starts_with("#[test]")
            || line.starts_with("#[tokio::test")
            || line.starts_with("#[actix_web::test");
        let name = name_after(line, "fn ").filter(|_| marked)?;
        marked = false;
        Some(name)
    })
}

fn name_after<'a>(line: &'a str, keyword: &str) -> Option<&'a str> {
    let (_, rest) = line.split_once(keyword)?;
    let (name, _) = rest.split_once(['(', '<'])?;
    Some(name.trim())
}

fn in_tables(path: &str, text: &str, proofs: &BTreeSet<&str>) -> Vec<Offender> {
    let cells = markdown::column(text, |heading| PROOFS.contains(&heading.to_lowercase().as_str()));
    let mut found = Vec::new();
    for (line, cell) in cells {
        for quoted in cell.split('`').skip(1).step_by(2) {
            let name = quoted.rsplit("::").next().unwrap_or(quoted);
            let name = name.trim_end_matches("()").rsplit('/').next().unwrap_or(name);
            let is_command = name.contains(' ');
            if !is_command && !proofs.contains(name) {
                let message = format!("no test is called `{quoted}`");
                found.push(Offender::new(NAME, path, line, message));
            }
        }
    }
    found
}

/// `test(/part/)` and `test(=name)` of nextest, and names given to `cargo test`.
fn in_filters(path: &str, text: &str, proofs: &BTreeSet<&str>) -> Vec<Offender> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let quoted = line.split("test(").skip(1).filter_map(|rest| {
            let part = rest.trim_start_matches(['/', '=', '~']);
            part.split(['/', ')', '$']).next()
        });
        let given = line
            .split_once("cargo test")
            .map_or("", |(_, rest)| rest)
            .split_whitespace()
            .filter(|word| is_long_name(word));
        for part in quoted.chain(given) {
            let is_known = |word: &str| word.is_empty() || proofs.iter().any(|name| name.contains(word));
            let is_plain = part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "_:^".contains(c));
            if is_plain && !part.trim_start_matches('^').split("::").all(is_known) {
                let message = format!("chooses tests by `{part}`, and there is none");
                found.push(Offender::new(NAME, path, index + 1, message));
            }
        }
    }
    found
}

/// A sentence of a name, as tests have them.
fn is_long_name(word: &str) -> bool {
    word.matches('_').count() >= 2
        && word.starts_with(|c: char| c.is_ascii_lowercase())
        && word
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

/// Long names in backquotes that stand nowhere but on pages: tests, functions, columns, metrics that were renamed.
fn unknown_names(tree: &Tree) -> Vec<Offender> {
    let mut named: BTreeMap<String, Vec<(&str, usize)>> = BTreeMap::new();
    let pages = tree.files.iter().filter(|(path, _)| ends_in(path, "md"));
    for (path, text) in pages {
        for (line, span) in markdown::code_spans(text) {
            let name = span.rsplit("::").next().unwrap_or(&span).trim_end_matches("()");
            if is_long_name(name) {
                named.entry(name.to_owned()).or_default().push((path, line));
            }
        }
    }
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    for (_, text) in tree.files.iter().filter(|(path, _)| !ends_in(path, "md")) {
        for word in text.split(|c| !is_word(c)).filter(|word| word.len() > 4) {
            named.remove(word);
        }
    }
    let mut found = Vec::new();
    for (name, places) in named {
        for (file, line) in places {
            let message = format!("`{name}` is nowhere in the code");
            found.push(Offender::new(NAME, file, line, message));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUST: (&str, &str) = (
        "crates/ops/tests/it/main.rs",
        "#[tokio::test]\nasync fn a_lost_answer_is_asked_again() {}\nfn not_a_test_at_all() {}\nproptest! {\n    #[test]\n    fn every_amount_fits_the_token(x in 0..1) {}\n}\n",
    );

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::planted(files))
            .into_iter()
            .map(|found| format!("{}:{} {}", found.file, found.line, found.message))
            .collect()
    }

    #[test]
    fn a_table_of_proofs_names_tests_only() {
        let page = "| threat | proof |\n|---|---|\n| one | `a_lost_answer_is_asked_again`, `make contracts`, `it::every_amount_fits_the_token` |\n| two | `not_a_test_at_all`, `testGone` |\n";
        let found = messages(&[RUST, ("docs/T.md", page)]);
        assert_eq!(
            found,
            [
                "docs/T.md:4 no test is called `not_a_test_at_all`",
                "docs/T.md:4 no test is called `testGone`",
            ]
        );
    }

    #[test]
    fn solidity_tests_and_scripts_prove_too() {
        let page = "| guard | test |\n|---|---|\n| one | `testFuzz_Deposit`, `restore`, `Escrow.t.sol` |\n";
        let found = messages(&[
            (
                "contracts/test/Escrow.t.sol",
                "contract EscrowTest { function testFuzz_Deposit(uint256 x) public {} }",
            ),
            ("scripts/restore", "#!/bin/sh\n"),
            ("docs/T.md", page),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_long_name_on_a_page_is_somewhere_in_the_code() {
        let page = "see `not_a_test_at_all`, `a_test_that_was_renamed()` and `two words_and_more_here`\n";
        let found = messages(&[RUST, ("README.md", page)]);
        assert_eq!(
            found,
            ["README.md:1 `a_test_that_was_renamed` is nowhere in the code"]
        );
    }

    #[test]
    fn a_filter_chooses_some_test() {
        let makefile = "x:\n\tcargo nextest run -E 'test(/^main::a_lost/)'\n\tcargo nextest run -E 'test(/a_flood_of_/)'\n\tcargo test -p ops --test it no_such_test\n\tcargo test every_amount_fits\n";
        let found = messages(&[RUST, ("Makefile", makefile)]);
        assert_eq!(
            found,
            [
                "Makefile:3 chooses tests by `a_flood_of_`, and there is none",
                "Makefile:4 chooses tests by `no_such_test`, and there is none",
            ]
        );
    }
}
