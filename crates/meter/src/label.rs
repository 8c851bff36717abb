//! A label and the values it may have.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

/// Shown in place of a value that is not listed.
pub const OTHER: &str = "other";

#[derive(Debug)]
pub struct Label {
    pub name: &'static str,
    pub values: Values,
}

/// All values of a label.
#[derive(Debug)]
pub enum Values {
    Of(&'static [&'static str]),
    /// Names that whoever runs the process gave: so many at most are told apart.
    Named {
        what: &'static str,
        at_most: usize,
        seen: Mutex<BTreeSet<String>>,
    },
}

/// A label whose values are known when the program is written.
pub const fn label(name: &'static str, values: &'static [&'static str]) -> Label {
    Label {
        name,
        values: Values::Of(values),
    }
}

/// A label whose values are `what`, which nobody outside can choose.
pub const fn named(name: &'static str, what: &'static str, at_most: usize) -> Label {
    Label {
        name,
        values: Values::Named {
            what,
            at_most,
            seen: Mutex::new(BTreeSet::new()),
        },
    }
}

impl Label {
    /// The most series this label can make of one.
    pub fn bound(&self) -> usize {
        let listed = match &self.values {
            Values::Of(values) => values.len(),
            Values::Named { at_most, .. } => *at_most,
        };
        listed + 1
    }

    /// The label for the recorder: the value if it is listed, [`OTHER`] if not.
    pub(crate) fn with(&self, value: &str) -> metrics::Label {
        match &self.values {
            Values::Of(values) => {
                let listed = values.iter().find(|listed| **listed == value);
                metrics::Label::from_static_parts(self.name, listed.unwrap_or(&OTHER))
            }
            Values::Named { at_most, seen, .. } => {
                let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
                if seen.contains(value) {
                    return metrics::Label::new(self.name, value.to_owned());
                }
                if seen.len() >= *at_most {
                    return metrics::Label::from_static_parts(self.name, OTHER);
                }
                seen.insert(value.to_owned());
                metrics::Label::new(self.name, value.to_owned())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_not_listed_is_other() {
        let status = label("status", &["ok", "error"]);
        assert_eq!(status.with("ok").value(), "ok");
        assert_eq!(status.with("../../etc").value(), OTHER);
        assert_eq!(status.bound(), 3);
    }

    #[test]
    fn names_are_told_apart_up_to_their_bound() {
        let key = named("key", "mounted keys", 2);
        let shown = ["a", "b", "c", "a"].map(|name| key.with(name).value().to_owned());
        assert_eq!(shown, ["a", "b", OTHER, "a"]);
        assert_eq!(key.bound(), 3);
    }
}
