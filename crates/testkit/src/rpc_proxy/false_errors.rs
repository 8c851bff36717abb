//! The false errors with which the proxy answers transactions: every text of [`node_errors`].

use std::sync::LazyLock;

use crate::node_errors;

pub type FalseError = &'static str;

/// Given in turn, for transactions that the node accepted and for ones it never received.
pub static ALL: LazyLock<Vec<FalseError>> = LazyLock::new(node_errors::texts);
