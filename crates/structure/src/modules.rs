//! The modules of one crate's production code, and which of them names which.
//!
//! What counts:
//! - A module is what `mod` makes, in a file of its own or not. What is compiled for tests only does not count, and
//!   `main.rs` is a caller of the library, not a part of it. Each program under `src/bin` has modules of its own.
//! - A module uses another when its own code, not that of a module inside it, names it or something defined in it:
//!   in an import or in a path, macro calls included.
//! - A re-export is looked through: who names `super::Row` uses the module that defines `Row`, not the one that hands
//!   it on. So `mod row; pub use row::Row;` makes no parent use its child.
//! - A module and those inside it are one unit: a parent that calls its children, and children that use their
//!   parent's types, are no circle. Two units are compared where their paths part: `a::x` that uses `b::y` makes `a`
//!   use `b`, and a circle is one of neighbours, modules with the same parent.

use std::collections::{BTreeMap, BTreeSet};

use crate::facts::{Facts, Import};
use crate::tree::Tree;

/// A module's path from the root of its crate or program.
pub type ModulePath = Vec<String>;

/// Where one module names another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub file: String,
    pub line: usize,
}

#[derive(Debug, Default)]
pub struct ModuleTree<'a> {
    /// Modules and the files with their code.
    modules: BTreeMap<ModulePath, &'a str>,
    items: BTreeMap<ModulePath, BTreeSet<&'a str>>,
    imports: BTreeMap<ModulePath, Vec<&'a Import>>,
    files: Vec<(ModulePath, &'a str, &'a Facts)>,
}

/// Each library and program of a crate.
pub fn of_crate<'a>(tree: &'a Tree, name: &str) -> Vec<ModuleTree<'a>> {
    let mut roots: BTreeMap<String, Vec<(ModulePath, &str, &Facts)>> = BTreeMap::new();
    let prefix = format!("crates/{name}/src/");
    for (path, facts) in tree.rust_of(name) {
        let Some(inside) = path
            .strip_prefix(&prefix)
            .and_then(|rest| rest.strip_suffix(".rs"))
        else {
            continue;
        };
        let (root, module) = place_of(inside);
        roots.entry(root).or_default().push((module, path, facts));
    }
    roots.into_values().map(ModuleTree::of).collect()
}

/// Which library or program a file belongs to, and as which module.
fn place_of(inside: &str) -> (String, ModulePath) {
    let mut parts: Vec<_> = inside.split('/').map(str::to_owned).collect();
    let root = match parts.as_slice() {
        [first, program, ..] if first == "bin" => {
            let root = format!("bin/{program}");
            parts.drain(..2);
            root
        }
        [only] if only == "main" => "main".to_owned(),
        _ => "lib".to_owned(),
    };
    if parts
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        parts.pop();
    }
    (root, parts)
}

impl<'a> ModuleTree<'a> {
    fn of(files: Vec<(ModulePath, &'a str, &'a Facts)>) -> Self {
        let mut tests = BTreeSet::new();
        for (module, _, facts) in &files {
            let of_tests = facts.modules.iter().filter(|inner| inner.is_test);
            tests.extend(of_tests.map(|inner| {
                [
                    module.as_slice(),
                    &inner.inside,
                    std::slice::from_ref(&inner.name),
                ]
                .concat()
            }));
        }
        let is_test = |module: &[String]| (1..=module.len()).any(|end| tests.contains(&module[..end]));
        let mut tree = Self::default();
        for (module, path, facts) in files {
            if is_test(&module) {
                continue;
            }
            tree.modules.insert(module.clone(), path);
            for inner in facts.modules.iter().filter(|inner| !inner.is_test) {
                let inner = [
                    module.as_slice(),
                    &inner.inside,
                    std::slice::from_ref(&inner.name),
                ]
                .concat();
                tree.modules.entry(inner).or_insert(path);
            }
            for (inside, name) in &facts.items {
                let at = [module.as_slice(), inside].concat();
                tree.items.entry(at).or_default().insert(name);
            }
            for import in facts.imports.iter().filter(|import| !import.in_test) {
                let at = [module.as_slice(), &import.inside].concat();
                tree.imports.entry(at).or_default().push(import);
            }
            tree.files.push((module, path, facts));
        }
        tree
    }

    pub fn file_of(&self, module: &[String]) -> &'a str {
        self.modules.get(module).copied().unwrap_or_default()
    }

    fn defines(&self, module: &[String], name: &str) -> bool {
        self.items.get(module).is_some_and(|items| items.contains(name))
    }

    /// Every pair of modules of which the first names the second, with the first place where it does.
    pub fn uses(&self) -> BTreeMap<(ModulePath, ModulePath), Place> {
        let mut uses = BTreeMap::new();
        for (module, file, facts) in &self.files {
            let imports = facts
                .imports
                .iter()
                .filter(|i| !i.in_test)
                .map(|i| (&i.inside, &i.path, i.line, i.is_export, i.name == "*"));
            let mentions = facts
                .mentions
                .iter()
                .filter(|m| !m.in_test)
                .map(|m| (&m.inside, &m.path, m.line, false, false));
            for (inside, path, line, is_export, is_glob) in imports.chain(mentions) {
                let from = [module.as_slice(), inside].concat();
                let Some(to) = self.resolve(&from, path, is_glob) else {
                    continue;
                };
                let hands_on_its_own = is_export && to.starts_with(&from);
                if to != from && !hands_on_its_own {
                    let place = Place {
                        file: (*file).to_owned(),
                        line,
                    };
                    uses.entry((from, to)).or_insert(place);
                }
            }
        }
        uses
    }

    /// The module that a path names, or that defines what it names; none when it leads out of the crate.
    fn resolve(&self, from: &[String], path: &[String], is_glob: bool) -> Option<ModulePath> {
        let mut at = from.to_vec();
        let mut rest = path;
        match path.first()?.as_str() {
            "crate" => {
                at.clear();
                rest = &path[1..];
            }
            "self" => rest = &path[1..],
            "super" => {
                while rest.first().is_some_and(|word| word == "super") {
                    at.pop()?;
                    rest = &rest[1..];
                }
            }
            first => {
                let child = [from, &[first.to_owned()]].concat();
                // A name that was imported was counted where it was imported.
                if !self.modules.contains_key(&child) {
                    return None;
                }
            }
        }
        self.descend(at, rest, is_glob, 0)
    }

    fn descend(
        &self,
        mut at: ModulePath,
        mut rest: &[String],
        is_glob: bool,
        depth: usize,
    ) -> Option<ModulePath> {
        while let [name, beyond @ ..] = rest {
            let child = [at.as_slice(), std::slice::from_ref(name)].concat();
            if !self.modules.contains_key(&child) {
                break;
            }
            at = child;
            rest = beyond;
        }
        match rest {
            [name, beyond @ ..] => Some(self.through_exports(&at, name, beyond, depth).unwrap_or(at)),
            [] if is_glob && !self.modules.contains_key(&at) => None,
            [] => Some(at),
        }
    }

    /// The module behind a name that `at` only hands on.
    fn through_exports(
        &self,
        at: &[String],
        name: &str,
        beyond: &[String],
        depth: usize,
    ) -> Option<ModulePath> {
        // Two modules may hand on each other's names by `*`.
        if depth > 8 || self.defines(at, name) {
            return None;
        }
        let imports = self.imports.get(at)?;
        let follow = |import: &Import, more: &[String]| {
            let path = [import.path.as_slice(), more].concat();
            let mut start = at.to_vec();
            let mut rest = path.as_slice();
            while let Some(word) = rest.first() {
                match word.as_str() {
                    "crate" => start.clear(),
                    "self" => {}
                    "super" => drop(start.pop()),
                    _ => break,
                }
                rest = &rest[1..];
            }
            let is_ours = path.len() > rest.len()
                || self
                    .modules
                    .contains_key(&[start.as_slice(), &rest[..1]].concat());
            is_ours
                .then(|| self.descend(start, rest, false, depth + 1))
                .flatten()
        };
        if let Some(import) = imports.iter().find(|import| import.name == name) {
            return follow(import, beyond);
        }
        imports
            .iter()
            .filter(|import| import.name == "*")
            .filter_map(|import| follow(import, &[]))
            .find(|module| self.defines(module, name))
    }
}
