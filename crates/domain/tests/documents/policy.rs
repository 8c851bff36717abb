//! docs/POLICY.md: one row for each field of the committed policy, with its value and its variable.

use std::collections::BTreeSet;

use domain::policy::{OVERRIDE_PREFIX, Policy};
use serde_json::Value;

use crate::page::text;

const COMMITTED: &str = include_str!("../../../../deploy/policy.json");

/// Field, committed value and variable of each row: its first and its last two cells.
fn rows(page: &str) -> BTreeSet<[String; 3]> {
    let code = |cell: &str| cell.trim().trim_matches('`').to_owned();
    page.lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').collect();
            let [field, _, _, value, variable] = cells[..] else {
                panic!("a row has five cells: {line}");
            };
            [field, value, variable].map(code)
        })
        .collect()
}

fn variable(section: &str, field: &str) -> String {
    let mut name = OVERRIDE_PREFIX.to_owned();
    for c in section.chars().chain("_".chars()).chain(field.chars()) {
        if c.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(c.to_ascii_uppercase());
    }
    name
}

#[test]
fn each_field_has_its_row_with_value_and_variable() {
    let committed: Value = serde_json::from_str(COMMITTED).unwrap();
    let mut expected = BTreeSet::new();
    for (section, fields) in committed.as_object().unwrap() {
        for (field, value) in fields.as_object().unwrap() {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            let variable = variable(section, field);
            let overridden = Policy::load(COMMITTED, [(variable.clone(), value.clone())]);
            assert_eq!(overridden, Policy::load(COMMITTED, []), "{variable}");
            expected.insert([format!("{section}.{field}"), value, variable]);
        }
    }
    let documented = rows(&text("POLICY.md"));
    let missing: Vec<_> = expected.difference(&documented).collect();
    let stray: Vec<_> = documented.difference(&expected).collect();
    assert!(
        missing.is_empty() && stray.is_empty(),
        "docs/POLICY.md lacks {missing:?} and has {stray:?}"
    );
}
