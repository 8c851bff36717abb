//! The items and the tests of the whole tree, by name.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::items::{self, Found};
use crate::tests_by_name::Tests;
use crate::tree;

/// An item and the file it stands in, from the root.
#[derive(Clone, Debug)]
pub struct Place {
    pub file: PathBuf,
    pub found: Found,
}

#[derive(Debug)]
pub struct Source {
    items: BTreeMap<String, Vec<Place>>,
    pub tests: Tests,
}

impl Source {
    pub fn read(root: &Path) -> Result<Self> {
        let mut source = Self {
            items: BTreeMap::new(),
            tests: Tests::default(),
        };
        for file in tree::files(root)? {
            source
                .add(root, &file)
                .with_context(|| file.display().to_string())?;
        }
        Ok(source)
    }

    fn add(&mut self, root: &Path, file: &Path) -> Result<()> {
        if file.starts_with("deploy") && file.extension().is_none() {
            if let Ok(text) = fs::read_to_string(root.join(file)) {
                self.keep(file, items::of_shell(&text, &file.display().to_string()));
            }
            return Ok(());
        }
        let Some(place) = Module::of(file) else {
            return Ok(());
        };
        let text = fs::read_to_string(root.join(file))?;
        let (found, tests) = items::of_rust(&text, &place.path)?;
        self.tests
            .add(&place.package, tests.into_iter().map(|test| test.path));
        if place.is_product {
            self.keep(file, found);
        }
        Ok(())
    }

    fn keep(&mut self, file: &Path, found: Vec<Found>) {
        for found in found {
            let place = Place {
                file: file.to_owned(),
                found,
            };
            self.items
                .entry(place.found.path.clone())
                .or_default()
                .push(place);
        }
    }

    /// All items of that path; a guard has exactly one.
    pub fn find(&self, path: &str) -> &[Place] {
        self.items.get(path).map_or(&[], Vec::as_slice)
    }
}

/// The one item of that path in a tree.
pub fn the_one(source: &Source, path: &str) -> Result<Place> {
    match source.find(path) {
        [one] => Ok(one.clone()),
        found => anyhow::bail!("{path} is there {} times", found.len()),
    }
}

/// What a Rust file stands for.
struct Module {
    package: String,
    /// With the package as its first name.
    path: String,
    is_product: bool,
}

impl Module {
    fn of(file: &Path) -> Option<Self> {
        if file.extension()? != "rs" {
            return None;
        }
        let names: Vec<&str> = file.iter().map(|part| part.to_str()).collect::<Option<_>>()?;
        let ["crates", package, folder @ ("src" | "tests"), modules @ ..] = names.as_slice() else {
            return None;
        };
        let mut path = vec![package.replace('-', "_")];
        for (index, name) in modules.iter().enumerate() {
            let name = name.strip_suffix(".rs").unwrap_or(name);
            let is_root = index == 0 && matches!(name, "lib" | "main");
            if !is_root && name != "mod" {
                path.push(name.to_owned());
            }
        }
        let is_product = *folder == "src" && path.last().is_none_or(|last| last != "tests");
        Some(Self {
            package: (*package).to_owned(),
            path: path.join("::"),
            is_product,
        })
    }
}
