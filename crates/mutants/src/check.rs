//! Whether the register still says the truth about names; takes no guard out.

use std::collections::BTreeSet;
use std::path::Path;

use crate::guards::{Guard, Register};
use crate::pure_rooms::PureRooms;
use crate::source::Source;

/// A longer body would pin the source that it replaces.
const BODY_AT_MOST: usize = 60;

pub fn problems(source: &Source, register: &Register, rooms: &PureRooms) -> Vec<String> {
    let mut found = rooms.problems();
    let mut seen = BTreeSet::new();
    for lost in register.all_lost() {
        if !seen.insert(lost) {
            found.push(format!("\"{lost}\" is there twice"));
        }
    }
    for guard in &register.guard {
        found.extend(of_guard(source, guard));
    }
    for pure in &register.pure {
        found.extend(item_problem(source, &pure.lost, &pure.item));
        let examined = |file: &Path| rooms.examine(file);
        if !source.find(&pure.item).iter().all(|place| examined(&place.file)) {
            found.push(format!(
                "\"{}\": cargo-mutants does not look at {}",
                pure.lost, pure.item
            ));
        }
    }
    for proven in &register.proven {
        found.extend(test_problems(source, &proven.lost, &proven.tests));
    }
    found
}

fn of_guard(source: &Source, guard: &Guard) -> Vec<String> {
    let mut found: Vec<String> = guard
        .items()
        .iter()
        .filter_map(|item| item_problem(source, &guard.lost, item))
        .collect();
    found.extend(test_problems(source, &guard.lost, &guard.tests));
    if guard.body.len() > BODY_AT_MOST || guard.body.contains('\n') {
        found.push(format!(
            "\"{}\": the body is more than a neutral expression",
            guard.lost
        ));
    }
    found
}

fn item_problem(source: &Source, lost: &str, item: &str) -> Option<String> {
    let count = source.find(item).len();
    (count != 1).then(|| format!("\"{lost}\": {item} is there {count} times"))
}

fn test_problems(source: &Source, lost: &str, tests: &[String]) -> Vec<String> {
    if tests.is_empty() {
        return vec![format!("\"{lost}\": names no test")];
    }
    let unknown = tests.iter().filter(|test| !source.tests.has(test));
    unknown
        .map(|test| format!("\"{lost}\": no test is called {test}"))
        .collect()
}
