//! What the proxy says of a transaction instead of the truth: every text that [`node_errors`] knows.

use std::sync::LazyLock;

use crate::node_errors;

pub type Lie = &'static str;

/// Told in turn, also about transactions that the node took, and about ones it never heard of.
pub static ALL: LazyLock<Vec<Lie>> = LazyLock::new(node_errors::texts);
