//! Which guards a diff concerns.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::guards::{Guard, REGISTER};
use crate::source::Source;
use crate::tree::git;

/// What differs.
#[derive(Debug)]
pub struct Diff {
    files: BTreeSet<PathBuf>,
    /// Lines that came or went in the register.
    register: Vec<String>,
}

impl Diff {
    /// `range` as git takes it; a single commit stands for what came since, uncommitted changes included.
    pub fn read(root: &Path, range: &str) -> Result<Self> {
        let names = git(root, &["diff", "--name-only", "-z", range, "--"])?;
        let register = git(root, &["diff", "--unified=0", range, "--", REGISTER])?;
        Ok(Self {
            files: names
                .split('\0')
                .filter(|name| !name.is_empty())
                .map(PathBuf::from)
                .collect(),
            register: register.lines().map(ToOwned::to_owned).collect(),
        })
    }

    /// Its item's file differs, or its entry.
    pub fn touches(&self, guard: &Guard, source: &Source) -> bool {
        let in_diff = |path: &String| {
            let places = source.find(path);
            places.iter().any(|place| self.files.contains(&place.file))
                || self.register.iter().any(|line| line.contains(path.as_str()))
        };
        guard.items().iter().any(in_diff) || self.register.iter().any(|line| line.contains(&guard.lost))
    }
}
