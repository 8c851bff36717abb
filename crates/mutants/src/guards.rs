//! `guards.toml`: what is lost with each guard, and what shows that a test would notice.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

pub const REGISTER: &str = "crates/mutants/guards.toml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Taken out by this tool.
    pub guard: Vec<Guard>,
    /// In pure rooms, which cargo-mutants takes apart.
    #[serde(default)]
    pub pure: Vec<Pure>,
    /// Held by tests that kill a process or forge an answer at the right moment; no single item can be taken out.
    #[serde(default)]
    pub proven: Vec<Proven>,
    /// Nothing can be taken out, or no test notices, for a reason.
    #[serde(default)]
    pub excluded: Vec<Excluded>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    pub lost: String,
    item: OneOrMore,
    /// A neutral expression, in the language of the item.
    pub body: String,
    /// `package::test`, or `package::module::` for all tests of a module; one of them must fail.
    pub tests: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pure {
    pub lost: String,
    pub item: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Proven {
    pub lost: String,
    pub tests: Vec<String>,
    pub why: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Excluded {
    pub lost: String,
    pub why: String,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

impl Guard {
    /// Two items go together where one covers for the other.
    pub fn items(&self) -> &[String] {
        match &self.item {
            OneOrMore::One(item) => std::slice::from_ref(item),
            OneOrMore::More(items) => items,
        }
    }

    fn has(&self, word: &str) -> bool {
        self.lost.contains(word) || self.items().iter().any(|item| item.contains(word))
    }
}

impl Register {
    pub fn load(root: &Path) -> Result<Self> {
        let text = fs::read_to_string(root.join(REGISTER)).context(REGISTER)?;
        toml::from_str(&text).context(REGISTER)
    }

    pub fn guards_with(&self, words: &[String]) -> Vec<&Guard> {
        let all_of = |guard: &&Guard| words.iter().all(|word| guard.has(word));
        self.guard.iter().filter(all_of).collect()
    }

    /// What is lost, over all kinds.
    pub fn all_lost(&self) -> impl Iterator<Item = &str> {
        let guards = self.guard.iter().map(|one| one.lost.as_str());
        let pure = self.pure.iter().map(|one| one.lost.as_str());
        let proven = self.proven.iter().map(|one| one.lost.as_str());
        let excluded = self.excluded.iter().map(|one| one.lost.as_str());
        guards.chain(pure).chain(proven).chain(excluded)
    }
}
