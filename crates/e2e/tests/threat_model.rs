//! docs/THREAT_MODEL.md names files and tests; all of them must exist.
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    testkit::dirs::workspace()
}

/// The table's rows as cells.
fn rows() -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("docs/THREAT_MODEL.md")).unwrap();
    text.lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| threat |"))
        .map(|line| {
            line.split(" | ")
                .map(|cell| cell.trim_matches(['|', ' ']).to_owned())
                .collect()
        })
        .collect()
}

/// The texts in backquotes.
fn quoted(cell: &str) -> Vec<&str> {
    cell.split('`').skip(1).step_by(2).collect()
}

/// Names of all proofs: Rust and Solidity tests, and scripts that CI runs.
fn proofs() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(&root().join("crates"), &mut |path| {
        if path.extension().is_some_and(|ending| ending == "rs") {
            collect(path, "fn ", &["#[test]", "#[tokio::test"], &mut found);
        }
    });
    walk(&root().join("contracts/test"), &mut |path| {
        if path.extension().is_some_and(|ending| ending == "sol") {
            collect(path, "function ", &[], &mut found);
        }
    });
    walk(&root().join("scripts"), &mut |path| {
        found.insert(path.file_name().unwrap().to_string_lossy().into_owned());
    });
    found
}

fn walk(dir: &Path, visit: &mut impl FnMut(&Path)) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(&path, visit);
        } else {
            visit(&path);
        }
    }
}

/// Functions that come after one of the marks (or any, without marks).
fn collect(path: &Path, keyword: &str, marks: &[&str], found: &mut BTreeSet<String>) {
    let text = fs::read_to_string(path).unwrap();
    let mut marked = marks.is_empty();
    for line in text.lines().map(str::trim_start) {
        if marks.iter().any(|mark| line.starts_with(mark)) {
            marked = true;
        }
        let Some((_, rest)) = line.split_once(keyword) else {
            continue;
        };
        let name = rest.split(['(', '<']).next().unwrap_or_default();
        if marked && line.contains('(') {
            found.insert(name.to_owned());
            marked = marks.is_empty();
        }
    }
}

#[test]
fn every_threat_names_a_mechanism_and_a_proof_that_exist() {
    let (rows, proofs) = (rows(), proofs());
    assert!(rows.len() >= 25, "{} threats", rows.len());
    for row in &rows {
        let [threat, likelihood, impact, answer, mechanism, proof] = row.as_slice() else {
            panic!("six columns: {row:?}");
        };
        for mark in [likelihood, impact] {
            assert!(["1", "2", "3"].contains(&mark.as_str()), "{threat}: {mark}");
        }
        assert!(!answer.is_empty(), "{threat}");
        let (files, tests) = (quoted(mechanism), quoted(proof));
        assert!(!files.is_empty() && !tests.is_empty(), "{threat}");
        for file in files {
            assert!(root().join(file).is_file(), "{threat}: {file} is not there");
        }
        for test in tests {
            assert!(proofs.contains(test), "{threat}: no test is called {test}");
        }
    }
}
