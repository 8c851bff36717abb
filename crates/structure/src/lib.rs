//! Checks the shape of the tree: which crate may use which, circles of modules, names, lengths, and what documents
//! promise to be there.
//!
//! Every rule is a function of a [`tree::Tree`] in memory; only `tree` reads the disk. What is tolerated today stands
//! in `ratchet.toml`, and nothing else may be worse than that.

pub mod facts;
pub mod markdown;
pub mod modules;
pub mod offender;
pub mod ratchet;
pub mod report;
pub mod rules;
pub mod tree;
