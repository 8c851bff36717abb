//! The files of the repository in memory, and its crates' dependencies.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, ensure};
use cargo_metadata::{DependencyKind, MetadataCommand};

use crate::facts::Facts;

/// One crate names another in its manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    pub from: String,
    pub to: String,
    pub development: bool,
}

#[derive(Debug, Default)]
pub struct Tree {
    /// Text files by their path from the root.
    pub files: BTreeMap<String, String>,
    /// What the compiler's grammar says about each Rust file.
    pub facts: BTreeMap<String, Facts>,
    pub packages: Vec<String>,
    pub dependencies: Vec<Dependency>,
}

impl Tree {
    /// Everything that git tracks or would track under `root`.
    pub fn read(root: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        for path in listed(root)? {
            // A file may be deleted and not yet committed; a picture is no text.
            if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
                files.insert(path, text);
            }
        }
        let mut tree = Self::of(files)?;
        let metadata = MetadataCommand::new()
            .manifest_path(root.join("Cargo.toml"))
            .no_deps()
            .exec()?;
        for package in metadata.packages {
            let from = package.name.to_string();
            tree.packages.push(from.clone());
            tree.dependencies
                .extend(package.dependencies.into_iter().map(|to| Dependency {
                    from: from.clone(),
                    to: to.name,
                    development: to.kind == DependencyKind::Development,
                }));
        }
        Ok(tree)
    }

    pub fn of(files: BTreeMap<String, String>) -> Result<Self> {
        let facts = parse_all(&files)?;
        Ok(Self {
            files,
            facts,
            ..Self::default()
        })
    }

    /// A tree for tests: paths and texts.
    #[cfg(test)]
    pub fn planted(files: &[(&str, &str)]) -> Self {
        let owned = |(path, text): &(&str, &str)| ((*path).to_owned(), (*text).to_owned());
        Self::of(files.iter().map(owned).collect()).unwrap()
    }

    /// Rust files of one crate, with what they say.
    pub fn rust_of<'a>(&'a self, name: &str) -> impl Iterator<Item = (&'a str, &'a Facts)> {
        let prefix = format!("crates/{name}/");
        self.facts
            .range(prefix.clone()..)
            .take_while(move |(path, _)| path.starts_with(&prefix))
            .map(|(path, facts)| (path.as_str(), facts))
    }

    pub fn exists(&self, path: &str) -> bool {
        let folder = format!("{}/", path.trim_end_matches('/'));
        let inside = |start: &str| self.files.range(start.to_owned()..).next();
        path == "."
            || self.files.contains_key(path)
            || inside(&folder).is_some_and(|(found, _)| found.starts_with(&folder))
    }
}

fn listed(root: &Path) -> Result<Vec<String>> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .output()
        .context("git lists the files; is it installed?")?;
    ensure!(
        output.status.success(),
        "git cannot list the files of {}: {}",
        root.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout)?;
    Ok(text
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(str::to_owned)
        .collect())
}

/// Spans belong to the thread that parsed, so every thread turns its share into plain facts.
fn parse_all(files: &BTreeMap<String, String>) -> Result<BTreeMap<String, Facts>> {
    let rust: Vec<_> = files.iter().filter(|(path, _)| is_rust(path)).collect();
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let share = |from: usize| -> Result<Vec<_>> {
        rust.iter()
            .skip(from)
            .step_by(threads)
            .map(|(path, text)| {
                let facts = Facts::read(text).with_context(|| format!("{path} is no Rust"))?;
                Ok(((*path).clone(), facts))
            })
            .collect()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|from| scope.spawn(move || share(from)))
            .collect();
        let mut all = BTreeMap::new();
        for worker in workers {
            let found = worker.join().map_err(|_| anyhow::anyhow!("a parser panicked"))?;
            all.extend(found?);
        }
        Ok(all)
    })
}

fn is_rust(path: &str) -> bool {
    path.starts_with("crates/") && ends_in(path, "rs")
}

/// Whether the path has this extension.
pub fn ends_in(path: &str, extension: &str) -> bool {
    Path::new(path)
        .extension()
        .is_some_and(|found| found == extension)
}
