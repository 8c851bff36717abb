//! A type name means one thing in all product crates: whoever reads `Report` need not ask which.

use std::collections::BTreeMap;

use crate::offender::Offender;
use crate::rules::{PRODUCT, is_test_file};
use crate::tree::Tree;

pub const NAME: &str = "shared-names";

/// One offender for each name, where it is defined first.
pub fn check(tree: &Tree, may_be_shared: &[String]) -> Vec<Offender> {
    let mut places: BTreeMap<&str, Vec<(&str, usize)>> = BTreeMap::new();
    for name in PRODUCT {
        for (path, facts) in tree.rust_of(name).filter(|(path, _)| !is_test_file(path)) {
            for defined in facts.types.iter().filter(|defined| !defined.in_test) {
                places
                    .entry(&defined.name)
                    .or_default()
                    .push((path, defined.line));
            }
        }
    }
    places
        .iter()
        .filter(|(name, places)| places.len() > 1 && !may_be_shared.iter().any(|may| may == *name))
        .filter_map(|(name, places)| {
            let ((file, line), others) = places.split_first()?;
            let others: Vec<_> = others
                .iter()
                .map(|(file, line)| format!("{file}:{line}"))
                .collect();
            let message = format!("`{name}` is defined also in {}", others.join(", "));
            let mut offender = Offender::new(NAME, file, *line, message);
            // A name of several crates is nobody's alone.
            "all".clone_into(&mut offender.group);
            Some(offender)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted() -> Tree {
        Tree::planted(&[
            ("crates/domain/src/lib.rs", "pub struct Report;\nenum Alone {}\n"),
            (
                "crates/gateway/src/report.rs",
                "type Report = u8;\n#[cfg(test)]\nmod tests { struct Alone; }\nfn f() { struct Alone; }\n",
            ),
            ("crates/gateway/src/judge/tests.rs", "struct Alone;\n"),
            ("crates/gateway/tests/it/main.rs", "struct Alone;\n"),
            ("crates/testkit/src/lib.rs", "struct Alone;\n"),
        ])
    }

    #[test]
    fn a_name_of_two_crates_is_seen_and_tests_are_not() {
        let found = check(&planted(), &[]);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].file.as_str(), found[0].line),
            ("crates/domain/src/lib.rs", 1)
        );
        assert_eq!(
            found[0].message,
            "`Report` is defined also in crates/gateway/src/report.rs:1"
        );
    }

    #[test]
    fn a_name_with_a_reason_is_left_alone() {
        assert!(check(&planted(), &["Report".to_owned()]).is_empty());
    }
}
