//! The error texts with which nodes refuse a transaction, from their sources: the product is tested with them, and
//! [`crate::rpc_proxy`] gives them as false errors.

use std::collections::BTreeSet;

/// Node, meaning and text, a row each.
const TABLE: &str = include_str!("node_errors.tsv");

/// One text of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeError {
    /// `any`: from a gateway in front of nodes, or from a node with a fault of its own.
    pub node: &'static str,
    /// The product's metric label: `already_known`, the reason of a rejection, or `unknown`.
    pub means: &'static str,
    pub text: &'static str,
}

/// Every text of every node.
///
/// # Panics
/// If a row of the table is not node, meaning and text.
pub fn all() -> Vec<NodeError> {
    let row = |line: &'static str| {
        let cells: Vec<&str> = line.split('\t').collect();
        let [node, means, text] = cells[..] else {
            panic!("node_errors.tsv: want node, meaning and text, separated by tabs: {line}");
        };
        NodeError { node, means, text }
    };
    TABLE.lines().map(row).collect()
}

/// Each text once, from whatever node.
pub fn texts() -> Vec<&'static str> {
    let texts: BTreeSet<_> = all().iter().map(|error| error.text).collect();
    texts.into_iter().collect()
}
