//! The arrows of the house: who may depend on whom, and which crate alone knows each outside thing.

use std::collections::BTreeMap;

use anyhow::Result;
use cargo_metadata::{DependencyKind, MetadataCommand};

/// Normal dependencies on our own crates that may exist. What is not listed is forbidden.
const ALLOWED: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("meter", &[]),
    ("storage", &["domain", "meter"]),
    ("messaging", &["domain", "meter"]),
    ("chain", &["domain", "meter"]),
    ("runtime", &["domain", "meter", "storage", "messaging", "chain"]),
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
        &["domain", "meter", "storage", "messaging", "chain", "runtime"],
    ),
    ("testkit", &["domain", "storage", "messaging", "chain"]),
    ("e2e", &["testkit"]),
    ("bench", &["domain", "storage", "messaging", "chain", "testkit"]),
];

/// The only crates that may name an outside thing directly.
const OWNERS: &[(&str, &[&str])] = &[
    ("lapin", &["messaging"]),
    ("tokio-postgres", &["storage"]),
    ("deadpool-postgres", &["storage"]),
    ("ethers", &["chain"]),
    ("actix-web", &["gateway", "runtime"]),
];

type Edges = Vec<(String, String)>;

fn normal_edges() -> Result<Edges> {
    let metadata = MetadataCommand::new().no_deps().exec()?;
    let of = |package: &cargo_metadata::Package| {
        let name = package.name.to_string();
        package
            .dependencies
            .iter()
            .filter(|d| d.kind == DependencyKind::Normal)
            .map(|d| (name.clone(), d.name.clone()))
            .collect::<Vec<_>>()
    };
    Ok(metadata.packages.iter().flat_map(of).collect())
}

fn violations(edges: &Edges) -> Vec<String> {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let owners: BTreeMap<_, _> = OWNERS.iter().copied().collect();
    let is_bad = |from: &str, to: &str| {
        let ours = allowed.contains_key(to) && !allowed.get(from).is_some_and(|may| may.contains(&to));
        let outside = owners.get(to).is_some_and(|may| !may.contains(&from));
        ours || outside
    };
    edges
        .iter()
        .filter(|(from, to)| is_bad(from, to))
        .map(|(from, to)| format!("{from} -> {to}"))
        .collect()
}

#[test]
fn every_arrow_points_downward() -> Result<()> {
    let edges = normal_edges()?;
    assert!(
        edges.iter().any(|(from, to)| from == "storage" && to == "domain"),
        "the graph was not read"
    );
    assert_eq!(violations(&edges), Vec::<String>::new());
    Ok(())
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
        let edges = vec![(from.to_owned(), to.to_owned())];
        assert_eq!(violations(&edges), [format!("{from} -> {to}")]);
    }
}

#[test]
fn every_crate_has_its_row() -> Result<()> {
    let metadata = MetadataCommand::new().no_deps().exec()?;
    let mut names: Vec<_> = metadata.packages.iter().map(|p| p.name.to_string()).collect();
    names.sort();
    let mut rows: Vec<_> = ALLOWED.iter().map(|(name, _)| (*name).to_owned()).collect();
    rows.sort();
    assert_eq!(names, rows);
    Ok(())
}
