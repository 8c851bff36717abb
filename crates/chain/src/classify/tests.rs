//! Checks every message in `testkit/src/node_errors.tsv`, which quotes the nodes' sources.

use std::collections::BTreeSet;

use testkit::node_errors;

use super::*;

const NODES: [&str; 5] = ["anvil", "erigon", "geth", "nethermind", "reth"];

const KINDS: [&str; 11] = [
    "already_known",
    "fee_too_high",
    "fee_too_low",
    "gas_limit",
    "insufficient_funds",
    "invalid",
    "nonce_too_high",
    "nonce_too_low",
    "pool_full",
    "replacement_underpriced",
    "unknown",
];

fn kind(message: &str) -> &'static str {
    match classify(message) {
        Some(AlreadyKnown) => "already_known",
        Some(Rejected(rejection)) => rejection.kind(),
        None => "unknown",
    }
}

#[test]
fn every_known_message_of_every_known_node() {
    let rows = node_errors::all();
    for row in &rows {
        assert_eq!(kind(row.text), row.means, "{}: {}", row.node, row.text);
    }
    let nodes: BTreeSet<_> = rows.iter().map(|row| row.node).collect();
    assert!(NODES.iter().all(|node| nodes.contains(node)), "{nodes:?}");
    let kinds: BTreeSet<_> = rows.iter().map(|row| row.means).collect();
    assert_eq!(kinds, BTreeSet::from(KINDS));
}

/// An outdated row would stay for ever, and might match before a current one.
#[test]
fn every_table_row_matches_some_known_message() {
    let deciding: BTreeSet<&str> = node_errors::texts()
        .into_iter()
        .filter_map(|text| {
            let text = text.to_lowercase();
            TABLE.iter().find(|(part, _)| text.contains(part))
        })
        .map(|(part, _)| *part)
        .collect();
    let idle: Vec<_> = TABLE
        .iter()
        .map(|(part, _)| *part)
        .filter(|part| !deciding.contains(part))
        .collect();
    assert_eq!(idle, Vec::<&str>::new());
}

#[test]
fn an_empty_message_stays_unknown() {
    assert_eq!(classify(""), None);
}
