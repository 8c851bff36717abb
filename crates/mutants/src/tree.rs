//! The copy of the tree in which guards are taken out.

use std::collections::BTreeSet;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, os::unix};

use anyhow::{Context, Result, bail};

/// Built by scripts/install-tools and scripts/contracts; the tests read them.
const MADE: [&str; 2] = ["contracts/node_modules", "contracts/out"];

/// Where the copy lies and is built.
#[derive(Debug)]
pub struct Tree {
    /// Holds the build and what was found out; the copy is inside.
    pub target: PathBuf,
    pub root: PathBuf,
    /// Of all that was copied.
    pub fingerprint: String,
}

pub fn workspace() -> Result<PathBuf> {
    let here = git(&env::current_dir()?, &["rev-parse", "--show-toplevel"])?;
    Ok(PathBuf::from(here.trim_end()))
}

pub fn git(root: &Path, args: &[&str]) -> Result<String> {
    let done = Command::new("git")
        .current_dir(root)
        .args(args)
        .output()
        .context("git")?;
    if !done.status.success() {
        bail!(
            "git {}: {}",
            args.join(" "),
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(String::from_utf8(done.stdout)?)
}

/// What git knows, and what it would take; from the root.
pub fn files(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let list = git(root, &["ls-files", "-co", "--exclude-standard", "-z"])?;
    let names = list.split('\0').filter(|name| !name.is_empty());
    Ok(names
        .map(PathBuf::from)
        .filter(|file| root.join(file).is_file())
        .collect())
}

impl Tree {
    /// Copies what differs, so that a build finds most of it as it was.
    pub fn copy(root: &Path) -> Result<Self> {
        let target =
            env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
        let target = target.join("mutants");
        let copy = target.join("tree");
        fs::create_dir_all(&copy)?;
        let list = target.join("files.json");
        let before: BTreeSet<PathBuf> = fs::read(&list)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        let now = files(root)?;
        let mut hasher = DefaultHasher::new();
        for file in &now {
            let bytes = fs::read(root.join(file))?;
            (file, &bytes).hash(&mut hasher);
            let to = copy.join(file);
            if fs::read(&to).is_ok_and(|there| there == bytes) {
                continue;
            }
            fs::create_dir_all(to.parent().unwrap_or(&copy))?;
            fs::copy(root.join(file), &to)?;
        }
        for gone in before.difference(&now) {
            fs::remove_file(copy.join(gone)).ok();
        }
        fs::write(&list, serde_json::to_vec(&now)?)?;
        for made in MADE {
            // A link may lead nowhere yet, and is there all the same.
            if copy.join(made).symlink_metadata().is_err() {
                unix::fs::symlink(root.join(made), copy.join(made))?;
            }
        }
        Ok(Self {
            target,
            root: copy,
            fingerprint: format!("{:016x}", hasher.finish()),
        })
    }
}
