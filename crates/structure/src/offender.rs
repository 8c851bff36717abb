//! One place that breaks a rule.

use serde::Serialize;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Offender {
    pub rule: &'static str,
    /// The part of the tree whose number it adds to: a crate, or the first folder of the path.
    pub group: String,
    pub file: String,
    pub line: usize,
    pub message: String,
}

impl Offender {
    pub fn new(rule: &'static str, file: &str, line: usize, message: String) -> Self {
        Self {
            rule,
            group: group_of(file),
            file: file.to_owned(),
            line,
            message,
        }
    }
}

/// `crates/gateway/src/lib.rs` counts for `gateway`, `docs/x.md` for `docs`, `README.md` for `root`.
pub fn group_of(file: &str) -> String {
    let mut parts = file.split('/');
    let first = parts.next().unwrap_or_default();
    match parts.next() {
        Some(name) if first == "crates" => name.to_owned(),
        Some(_) => first.to_owned(),
        None => "root".to_owned(),
    }
}

#[test]
fn a_place_belongs_to_its_crate_or_folder() {
    for (file, group) in [
        ("crates/gateway/src/lib.rs", "gateway"),
        ("docs/adr/README.md", "docs"),
        ("README.md", "root"),
    ] {
        assert_eq!(group_of(file), group);
    }
}
