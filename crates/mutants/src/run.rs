//! Takes the chosen guards out, one after the other.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Output};
use std::str::FromStr;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};

use crate::guards::Guard;
use crate::source::{Place, Source, the_one};
use crate::state::{State, Verdict};
use crate::tests_by_name::Name;
use crate::tree::Tree;

/// Its tests start the binaries of the others.
const STARTS_BINARIES: &str = "e2e";
/// nextest's exit code when tests failed; any other is no answer.
const TESTS_FAILED: i32 = 100;
const SHOWN: usize = 3;

/// One of several equal parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shard {
    place: usize,
    of: usize,
}

impl FromStr for Shard {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (place, of) = text
            .split_once('/')
            .context("a shard is k/n, from 0/n to n-1/n")?;
        let (place, of) = (place.parse()?, of.parse()?);
        ensure!(place < of, "a shard is k/n, from 0/n to n-1/n");
        Ok(Self { place, of })
    }
}

impl Shard {
    pub fn part<T>(self, all: Vec<T>) -> Vec<T> {
        all.into_iter().skip(self.place).step_by(self.of).collect()
    }
}

pub fn all(root: &Path, chosen: &[&Guard], again: bool) -> Result<ExitCode> {
    if std::env::var_os("TESTKIT_CHAIN_STATE").is_none() {
        bail!("the tests need their servers: make mutants-services, or eval \"$(make -s test-env)\" first");
    }
    let tree = Tree::copy(root)?;
    let source = Source::read(root)?;
    let mut state = State::load(&tree.target, &tree.fingerprint, again);
    println!("{} guards; the first build takes a while", chosen.len());
    let mut not_killed = Vec::new();
    for (index, guard) in chosen.iter().enumerate() {
        let began = Instant::now();
        let (verdict, told) = if let Some(known) = state.known(&guard.lost) {
            (known.clone(), "before".to_owned())
        } else {
            let verdict = try_out(&tree, &source, guard)?;
            state.keep(&guard.lost, verdict.clone())?;
            (verdict, format!("{} s", began.elapsed().as_secs()))
        };
        if !matches!(verdict, Verdict::Killed(_)) {
            not_killed.push(guard.lost.as_str());
        }
        println!(
            "{:>3}/{} {} ({told}): {}",
            index + 1,
            chosen.len(),
            guard.lost,
            in_words(&verdict)
        );
    }
    if not_killed.is_empty() {
        println!("all {} killed", chosen.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("not killed: {}", not_killed.join("; "));
    Ok(ExitCode::FAILURE)
}

fn in_words(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Killed(by) if by.len() > SHOWN => {
            format!(
                "killed by {}, and {} more",
                by[..SHOWN].join(", "),
                by.len() - SHOWN
            )
        }
        Verdict::Killed(by) => format!("killed by {}", by.join(", ")),
        Verdict::Survived => "SURVIVED".to_owned(),
        Verdict::Error(error) => format!("ERROR {error}"),
    }
}

/// Puts the files back however it ends.
struct Originals(Vec<(std::path::PathBuf, String)>);

impl Drop for Originals {
    fn drop(&mut self) {
        // The first copy of a file that was changed twice is the original.
        for (file, text) in self.0.iter().rev() {
            if let Err(error) = fs::write(file, text) {
                eprintln!("mutants: {} is left without its guard: {error}", file.display());
            }
        }
    }
}

fn try_out(tree: &Tree, source: &Source, guard: &Guard) -> Result<Verdict> {
    let mut places: Vec<Place> = guard
        .items()
        .iter()
        .map(|path| the_one(source, path))
        .collect::<Result<_>>()?;
    // From the end of a file, so that the places before stay where they are.
    places.sort_by_key(|place| std::cmp::Reverse(place.found.body.start));
    let mut originals = Originals(Vec::new());
    for place in &places {
        let file = tree.root.join(&place.file);
        let text = fs::read_to_string(&file)?;
        let changed = place.found.replaced(&text, &guard.body)?;
        originals.0.push((file.clone(), text));
        fs::write(&file, changed)?;
    }
    judged(tree, guard)
}

/// The tests that failed, or why there is no answer.
fn judged(tree: &Tree, guard: &Guard) -> Result<Verdict> {
    let names: Vec<Name<'_>> = guard
        .tests
        .iter()
        .map(|test| Name::parse(test))
        .collect::<Result<_>>()?;
    let packages: BTreeSet<&str> = names.iter().map(|name| name.package).collect();
    if packages.contains(STARTS_BINARIES) {
        let built = cargo(tree, &["build", "--quiet", "--workspace", "--bins"])?;
        if !built.status.success() {
            return Ok(Verdict::Error(format!("does not compile\n{}", end_of(&built))));
        }
    }
    let filter = names
        .iter()
        .map(|name| format!("({})", name.filter()))
        .collect::<Vec<_>>()
        .join(" or ");
    let mut args = vec![
        "nextest",
        "run",
        "--no-fail-fast",
        "--ignore-default-filter",
        "-E",
        &filter,
    ];
    for package in packages {
        args.extend(["--package", package]);
    }
    let tested = cargo(tree, &args)?;
    Ok(match tested.status.code() {
        Some(0) => Verdict::Survived,
        Some(TESTS_FAILED) => Verdict::Killed(failed_tests(&text_of(&tested))),
        _ => Verdict::Error(end_of(&tested)),
    })
}

fn cargo(tree: &Tree, args: &[&str]) -> Result<Output> {
    Command::new("cargo")
        .current_dir(&tree.root)
        .args(args)
        .env("CARGO_TARGET_DIR", &tree.target)
        .env("CARGO_INCREMENTAL", "1")
        .env("CARGO_TERM_COLOR", "never")
        .output()
        .with_context(|| format!("cargo {}", args.join(" ")))
}

fn text_of(done: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    )
}

/// What an error is told with.
fn end_of(done: &Output) -> String {
    const LINES: usize = 30;
    let text = text_of(done);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// From lines such as `FAIL [   0.012s] (1/2) callback::it races::two_at_once`.
fn failed_tests(text: &str) -> Vec<String> {
    let mut found = BTreeSet::new();
    for line in text.lines().map(str::trim) {
        let is_failure = ["FAIL ", "TIMEOUT ", "SIG", "LEAK-FAIL "]
            .iter()
            .any(|word| line.starts_with(word));
        if let Some(test) = line
            .split_whitespace()
            .next_back()
            .filter(|_| is_failure && line.contains('['))
        {
            found.insert(test.to_owned());
        }
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_cover_everything_once() {
        let all: Vec<u32> = (0..10).collect();
        let mut seen: Vec<u32> = ["0/3", "1/3", "2/3"]
            .iter()
            .flat_map(|k| k.parse::<Shard>().unwrap().part(all.clone()))
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, all);
        for wrong in ["3/3", "1", "x/2", "0/0"] {
            assert!(wrong.parse::<Shard>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_tests_that_failed_are_read_from_the_report() {
        let text = "    PASS [   0.1s] (1/3) callback::it races::one\n    FAIL [   0.2s] (2/3) callback::it races::two\n\
                    TIMEOUT [ 120.0s] (3/3) gateway::it storms::three\n    FAIL [   0.2s] (2/3) callback::it races::two\n";
        assert_eq!(failed_tests(text), ["races::two", "storms::three"]);
    }
}
