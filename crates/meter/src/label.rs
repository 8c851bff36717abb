//! A label and the values it may have.

use std::collections::BTreeSet;

use parking_lot::Mutex;

/// Replaces every value that a label does not list.
pub const OTHER: &str = "other";

#[derive(Debug)]
pub struct Label {
    pub name: &'static str,
    pub values: Values,
}

/// All values of a label.
#[derive(Debug)]
pub enum Values {
    Fixed(&'static [&'static str]),
    /// Names that the operator of the process chose; the label distinguishes at most `limit` of them.
    Dynamic {
        description: &'static str,
        limit: usize,
        seen: Mutex<BTreeSet<String>>,
    },
}

/// A label whose values are known when the program is written.
pub const fn label(name: &'static str, values: &'static [&'static str]) -> Label {
    Label {
        name,
        values: Values::Fixed(values),
    }
}

/// A label whose values are only known at run time. `description` says what they are; no client may choose them.
pub const fn dynamic_label(name: &'static str, description: &'static str, limit: usize) -> Label {
    Label {
        name,
        values: Values::Dynamic {
            description,
            limit,
            seen: Mutex::new(BTreeSet::new()),
        },
    }
}

impl Label {
    /// The maximum number of series that this label adds to a metric.
    pub fn max_series(&self) -> usize {
        let listed = match &self.values {
            Values::Fixed(values) => values.len(),
            Values::Dynamic { limit, .. } => *limit,
        };
        listed + 1
    }

    /// Builds the recorder's label: the value if it is listed, otherwise [`OTHER`].
    pub(crate) fn with_value(&self, value: &str) -> metrics::Label {
        match &self.values {
            Values::Fixed(values) => {
                let listed = values.iter().find(|listed| **listed == value);
                metrics::Label::from_static_parts(self.name, listed.unwrap_or(&OTHER))
            }
            Values::Dynamic { limit, seen, .. } => {
                let mut seen = seen.lock();
                if seen.contains(value) {
                    return metrics::Label::new(self.name, value.to_owned());
                }
                if seen.len() >= *limit {
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
        assert_eq!(status.with_value("ok").value(), "ok");
        assert_eq!(status.with_value("../../etc").value(), OTHER);
        assert_eq!(status.max_series(), 3);
    }

    #[test]
    fn dynamic_values_are_distinguished_up_to_their_limit() {
        let key = dynamic_label("key", "mounted keys", 2);
        let shown = ["a", "b", "c", "a"].map(|name| key.with_value(name).value().to_owned());
        assert_eq!(shown, ["a", "b", OTHER, "a"]);
        assert_eq!(key.max_series(), 3);
    }
}
