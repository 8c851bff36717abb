//! Who may depend on whom, and which crate alone knows each outside thing. Manifests and imports are both read: an
//! import could reach an outside thing through a crate that hands it on.

use crate::offender::Offender;
use crate::rules::is_test_file;
use crate::tree::{Dependency, Tree};

pub const NAME: &str = "layers";

/// Dependencies on our own crates that may exist in production code. What is not listed is forbidden.
const MAY_USE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("meter", &[]),
    ("storage", &["domain", "meter"]),
    ("messaging", &["domain", "meter"]),
    ("chain", &["domain", "meter"]),
    ("runtime", &["domain", "meter", "storage", "messaging", "chain"]),
    ("reconcile", &["domain", "storage"]),
    ("gateway", &["domain", "meter", "storage", "messaging", "runtime"]),
    (
        "callback",
        &["domain", "meter", "storage", "messaging", "runtime"],
    ),
    (
        "mint-executor",
        &["domain", "meter", "storage", "messaging", "chain", "runtime"],
    ),
    (
        "ops",
        &[
            "domain",
            "meter",
            "storage",
            "messaging",
            "chain",
            "runtime",
            "reconcile",
        ],
    ),
    ("testkit", &["domain", "storage", "messaging", "chain"]),
    ("e2e", &["testkit"]),
    (
        "bench",
        &[
            "domain",
            "storage",
            "messaging",
            "chain",
            "runtime",
            "testkit",
            // Its manifest says why.
            "callback",
            "gateway",
            "mint-executor",
            "ops",
        ],
    ),
    ("mutants", &[]),
    ("structure", &[]),
];

/// What tests may use on top; the tests of everything else may use testkit.
const TESTS_MAY_USE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("meter", &[]),
    (
        "e2e",
        &[
            "domain",
            "meter",
            "storage",
            "messaging",
            "chain",
            "runtime",
            "gateway",
            "callback",
            "mint-executor",
            "ops",
        ],
    ),
    ("mutants", &[]),
    ("structure", &[]),
];

/// The only crates that may name an outside thing directly.
const OWNERS: &[(&str, &[&str])] = &[
    ("lapin", &["messaging"]),
    ("tokio-postgres", &["storage"]),
    ("deadpool-postgres", &["storage"]),
    ("ethers", &["chain"]),
    ("actix-web", &["gateway", "runtime"]),
];

pub fn check(tree: &Tree) -> Vec<Offender> {
    let mut found = rows(tree);
    for edge in &tree.dependencies {
        if is_forbidden(edge) {
            found.push(in_manifest(tree, edge));
        }
    }
    for (from, _) in MAY_USE {
        for (path, facts) in tree.rust_of(from) {
            let in_file = is_test_file(path);
            let imports = facts.imports.iter().map(|i| (&i.path, i.line, i.in_test));
            let mentions = facts.mentions.iter().map(|m| (&m.path, m.line, m.in_test));
            for (named, line, in_test) in imports.chain(mentions) {
                let development = in_file || in_test;
                let forbidden = forbidden_in(from, named, development).filter(|to| may_mean(tree, from, to));
                if let Some(to) = forbidden {
                    let message = format!("{from} may not use {to}, but names `{}`", named.join("::"));
                    found.push(Offender::new(NAME, path, line, message));
                }
            }
        }
    }
    found.dedup_by(|a, b| (&a.file, a.line) == (&b.file, b.line));
    found
}

/// A crate without a row would be checked by nothing; a row without a crate is a name that was given up.
fn rows(tree: &Tree) -> Vec<Offender> {
    let has_row = |name: &String| MAY_USE.iter().any(|(row, _)| row == name);
    let unlisted = tree.packages.iter().filter(|name| !has_row(name)).map(|name| {
        let message = format!("{name} has no row in the table of rules/layers.rs");
        Offender::new(NAME, &format!("crates/{name}/Cargo.toml"), 1, message)
    });
    let is_there = |row: &str| tree.packages.iter().any(|name| name == row);
    let given_up = MAY_USE.iter().filter(|(row, _)| !is_there(row)).map(|(row, _)| {
        let message = format!("the table of layers has a row for {row}, which is no crate");
        Offender::new(NAME, "crates/structure/src/rules/layers.rs", 1, message)
    });
    if tree.packages.is_empty() {
        return Vec::new();
    }
    unlisted.chain(given_up).collect()
}

/// A crate of ours that is no dependency cannot be named: the path names a module that is called the same.
fn may_mean(tree: &Tree, from: &str, to: &str) -> bool {
    let ours = MAY_USE.iter().any(|(name, _)| *name == to);
    let depends = |edge: &Dependency| edge.from == from && edge.to == to;
    !ours || tree.dependencies.iter().any(depends)
}

fn is_forbidden(edge: &Dependency) -> bool {
    let ours = MAY_USE.iter().any(|(name, _)| *name == edge.to);
    (ours && !may_use(&edge.from, &edge.to, edge.development)) || is_foreign(&edge.from, &edge.to)
}

fn may_use(from: &str, to: &str, development: bool) -> bool {
    let of = |table: &[(&str, &'static [&'static str])]| {
        table
            .iter()
            .find(|(name, _)| *name == from)
            .map(|(_, may)| may.contains(&to))
    };
    from == to
        || of(MAY_USE) == Some(true)
        || (development && of(TESTS_MAY_USE).unwrap_or_else(|| to == "testkit"))
}

fn is_foreign(from: &str, to: &str) -> bool {
    OWNERS
        .iter()
        .any(|(thing, owners)| *thing == to && !owners.contains(&from))
}

/// What a path names that it may not: one of our crates at its start, or an outside thing anywhere in it.
fn forbidden_in(from: &str, path: &[String], development: bool) -> Option<&'static str> {
    let first = path.first()?;
    let ours = MAY_USE
        .iter()
        .map(|(name, _)| *name)
        .find(|name| path.len() > 1 && name.replace('-', "_") == *first);
    if let Some(to) = ours
        && !may_use(from, to, development)
    {
        return Some(to);
    }
    OWNERS
        .iter()
        .map(|(thing, _)| *thing)
        .find(|thing| is_foreign(from, thing) && path.contains(&thing.replace('-', "_")))
}

fn in_manifest(tree: &Tree, edge: &Dependency) -> Offender {
    let file = format!("crates/{}/Cargo.toml", edge.from);
    let line = tree
        .files
        .get(&file)
        .and_then(|text| text.lines().position(|line| line.starts_with(&edge.to)))
        .map_or(1, |index| index + 1);
    let message = format!("{} may not depend on {}", edge.from, edge.to);
    Offender::new(NAME, &file, line, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(from: &str, to: &str, development: bool) -> Dependency {
        Dependency {
            from: from.to_owned(),
            to: to.to_owned(),
            development,
        }
    }

    fn messages(tree: &Tree) -> Vec<String> {
        check(tree)
            .into_iter()
            .map(|found| format!("{}:{}: {}", found.file, found.line, found.message))
            .collect()
    }

    #[test]
    fn a_turned_arrow_is_seen() {
        for (from, to) in [
            ("domain", "storage"),
            ("storage", "messaging"),
            ("gateway", "chain"),
            ("callback", "chain"),
            ("gateway", "callback"),
            ("mint-executor", "testkit"),
            ("gateway", "lapin"),
            ("callback", "tokio-postgres"),
            ("ops", "ethers"),
        ] {
            assert!(is_forbidden(&edge(from, to, false)), "{from} -> {to}");
        }
        for (from, to) in [("storage", "domain"), ("chain", "ethers"), ("bench", "testkit")] {
            assert!(!is_forbidden(&edge(from, to, false)), "{from} -> {to}");
        }
    }

    #[test]
    fn tests_may_use_testkit_and_only_e2e_the_services() {
        assert!(!is_forbidden(&edge("storage", "testkit", true)));
        assert!(!is_forbidden(&edge("e2e", "gateway", true)));
        assert!(is_forbidden(&edge("callback", "gateway", true)));
        assert!(is_forbidden(&edge("domain", "testkit", true)));
    }

    #[test]
    fn a_manifest_is_named_with_its_line() {
        let mut tree = Tree::planted(&[(
            "crates/gateway/Cargo.toml",
            "[dependencies]\nchain.workspace = true\n",
        )]);
        tree.dependencies.push(edge("gateway", "chain", false));
        assert_eq!(
            messages(&tree),
            ["crates/gateway/Cargo.toml:2: gateway may not depend on chain"]
        );
    }

    #[test]
    fn an_import_is_seen_also_through_a_crate_that_hands_it_on() {
        let mut tree = Tree::planted(&[
            (
                "crates/callback/src/lib.rs",
                "use gateway::app::App;\nfn f() { let _ = gateway::auth::check(); }\n",
            ),
            ("crates/ops/src/lib.rs", "use chain::ethers::types::U256;\n"),
            (
                "crates/gateway/src/lib.rs",
                "use domain::Amount;\n#[cfg(test)]\nmod tests { use testkit::Servers; }\n",
            ),
            (
                "crates/domain/src/lib.rs",
                "mod storage;\npub use storage::Row;\n",
            ),
        ]);
        tree.dependencies.push(edge("callback", "gateway", true));
        assert_eq!(
            messages(&tree),
            [
                "crates/callback/Cargo.toml:1: callback may not depend on gateway",
                "crates/callback/src/lib.rs:1: callback may not use gateway, but names `gateway::app::App`",
                "crates/callback/src/lib.rs:2: callback may not use gateway, but names `gateway::auth::check`",
                "crates/ops/src/lib.rs:1: ops may not use ethers, but names `chain::ethers::types::U256`",
            ]
        );
    }

    #[test]
    fn every_crate_has_its_row_and_every_row_its_crate() {
        let mut tree = Tree {
            packages: MAY_USE.iter().map(|(name, _)| (*name).to_owned()).collect(),
            ..Tree::default()
        };
        assert_eq!(messages(&tree), Vec::<String>::new());
        tree.packages[0] = "novel".to_owned();
        let found = messages(&tree);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("crates/novel/Cargo.toml:1: novel has no row"));
        assert!(found[1].contains("a row for domain, which is no crate"));
    }
}
