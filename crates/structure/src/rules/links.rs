//! Links, anchors and paths lead somewhere: in Markdown all of them, elsewhere the paths that comments name.

use std::collections::{BTreeMap, BTreeSet};

use crate::markdown;
use crate::offender::Offender;
use crate::tree::{Tree, ends_in};

pub const NAME: &str = "links";

/// How a path of the repository begins when it is written from the root.
const ROOTS: [&str; 6] = [
    "crates/",
    "docs/",
    "scripts/",
    "deploy/",
    "migrations/",
    "contracts/",
];

/// What is made or fetched, and so is not in the tree.
const MADE: [&str; 7] = [
    "contracts/lib",
    "contracts/out",
    "contracts/cache",
    "contracts/node_modules",
    "contracts/broadcast",
    "contracts/deployments",
    "deploy/secrets",
];

pub fn check(tree: &Tree) -> Vec<Offender> {
    let mut found = Vec::new();
    let anchors: BTreeMap<&str, BTreeSet<String>> = tree
        .files
        .iter()
        .filter(|(path, _)| ends_in(path, "md"))
        .map(|(path, text)| (path.as_str(), markdown::anchors(text)))
        .collect();
    for (path, text) in &tree.files {
        if ends_in(path, "md") {
            for (line, target) in markdown::links(text) {
                if let Some(message) = broken(tree, &anchors, path, target) {
                    found.push(Offender::new(NAME, path, line, message));
                }
            }
        }
        // The tests of this crate plant wrong paths.
        if path.starts_with("crates/structure/") {
            continue;
        }
        for (line, words) in spoken(path, text) {
            found.extend(
                paths_in(words)
                    .filter(|named| !leads(tree, path, named))
                    .map(|named| {
                        let message = format!("names `{named}`, which is not there");
                        Offender::new(NAME, path, line, message)
                    }),
            );
        }
    }
    found
}

fn broken(
    tree: &Tree,
    anchors: &BTreeMap<&str, BTreeSet<String>>,
    from: &str,
    target: &str,
) -> Option<String> {
    let (file, anchor) = target.split_once('#').unwrap_or((target, ""));
    let page = if file.is_empty() {
        from.to_owned()
    } else {
        beside(from, file)
    };
    if !tree.exists(&page) {
        return Some(format!("links to `{target}`, which is not there"));
    }
    let has = anchors
        .get(page.as_str())
        .is_none_or(|known| known.contains(anchor));
    (!anchor.is_empty() && !has).then(|| format!("links to `{target}`: {page} has no such heading"))
}

/// A path as seen from a file's folder, written from the root.
fn beside(from: &str, target: &str) -> String {
    let mut parts: Vec<_> = from.split('/').collect();
    parts.pop();
    if target.starts_with('/') {
        parts.clear();
    }
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    }
}

/// Lines that speak to a reader: all of a page, and comments elsewhere.
fn spoken<'a>(path: &str, text: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    let ending = path.rsplit('.').next().unwrap_or_default();
    let mark = match ending {
        "md" => "",
        "rs" | "sol" | "ts" | "js" => "//",
        "sql" => "--",
        _ => "#",
    };
    text.lines()
        .enumerate()
        .filter_map(move |(index, line)| Some((index + 1, &line[line.find(mark)?..])))
}

/// Words that are paths from the root, without patterns and places to fill in.
fn paths_in(line: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || "_./-*{}<>$@~".contains(c);
    line.split(move |c| !is_part(c))
        .filter(|word| !word.contains(['*', '{', '<', '$']) && !word.contains(".."))
        .map(|word| word.trim_end_matches(['.', '/', '-', '>', '}']))
        .filter(|word| {
            ROOTS
                .iter()
                .any(|root| word.len() > root.len() && word.starts_with(root))
        })
}

fn leads(tree: &Tree, from: &str, named: &str) -> bool {
    tree.exists(named) || tree.exists(&beside(from, named)) || MADE.iter().any(|made| named.starts_with(made))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::planted(files))
            .into_iter()
            .map(|found| format!("{}:{} {}", found.file, found.line, found.message))
            .collect()
    }

    #[test]
    fn a_link_to_nothing_is_seen() {
        let found = messages(&[
            ("docs/a.md", "# A\n[b](b.md) [c](../README.md#gone) [d](#here)\n"),
            ("README.md", "# There\n"),
        ]);
        assert_eq!(
            found,
            [
                "docs/a.md:2 links to `b.md`, which is not there",
                "docs/a.md:2 links to `../README.md#gone`: README.md has no such heading",
                "docs/a.md:2 links to `#here`: docs/a.md has no such heading",
            ]
        );
    }

    #[test]
    fn links_to_files_folders_and_headings_are_right() {
        let found = messages(&[
            (
                "docs/a.md",
                "# Here\n[b](adr/0001.md) [c](../README.md#there) [d](#here) [e](adr) [f](..)\n",
            ),
            ("docs/adr/0001.md", "x"),
            ("README.md", "# There\n"),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_path_to_nothing_is_seen_on_pages_and_in_comments() {
        let found = messages(&[
            ("docs/a.md", "see `crates/ops/src/gone.rs:12` and `crates/ops`\n"),
            (
                "crates/ops/src/lib.rs",
                "//! As `docs/GONE.md` says, and docs/a.md.\nconst X: &str = \"docs/gone\";\n",
            ),
            ("scripts/run", "# see scripts/gone\nscripts/other\n"),
            ("migrations/V1__x.sql", "-- crates/gone\n"),
        ]);
        assert_eq!(
            found,
            [
                "crates/ops/src/lib.rs:1 names `docs/GONE.md`, which is not there",
                "docs/a.md:1 names `crates/ops/src/gone.rs`, which is not there",
                "migrations/V1__x.sql:1 names `crates/gone`, which is not there",
                "scripts/run:1 names `scripts/gone`, which is not there",
            ]
        );
    }

    #[test]
    fn patterns_and_places_to_fill_in_are_left_alone() {
        let found = messages(&[(
            "docs/a.md",
            "`crates/*/src`, `docs/schemas/<type>.json`, https://example.org/docs/x, contracts/out/x.json\n",
        )]);
        assert_eq!(found, Vec::<String>::new());
    }
}
