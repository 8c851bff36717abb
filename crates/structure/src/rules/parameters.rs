//! What a function takes has a name, and there is not too much of it. Closures are free: they are read where they stand.

use crate::offender::Offender;
use crate::tree::Tree;

pub const COUNT: &str = "parameters";
pub const TUPLE: &str = "tuples";

/// With `self`, as clippy counts them.
const MOST: usize = 6;

pub fn too_many(tree: &Tree) -> Vec<Offender> {
    let mut found = Vec::new();
    for (path, facts) in &tree.facts {
        for function in facts.functions.iter().filter(|f| f.parameters > MOST) {
            let message = format!(
                "`{}` takes {} parameters, at most {MOST}",
                function.name, function.parameters
            );
            found.push(Offender::new(COUNT, path, function.line, message));
        }
    }
    found
}

pub fn tuples(tree: &Tree) -> Vec<Offender> {
    let mut found = Vec::new();
    for (path, facts) in &tree.facts {
        for function in &facts.functions {
            found.extend(function.tuples.iter().map(|line| {
                let message = format!("`{}` takes a tuple", function.name);
                Offender::new(TUPLE, path, *line, message)
            }));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planted(text: &str) -> Tree {
        Tree::planted(&[("crates/ops/src/a.rs", text)])
    }

    #[test]
    fn a_seventh_parameter_is_one_too_many() {
        let six = "fn six(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8) {}";
        assert!(too_many(&planted(six)).is_empty());
        let seven = "impl X { fn seven(&self, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8) {} }";
        let found = too_many(&planted(seven));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].message, "`seven` takes 7 parameters, at most 6");
    }

    #[test]
    fn a_tuple_is_seen_by_its_pattern_and_by_its_type() {
        let text = "fn a((x, y): Pair) {}\nfn b(\n    n: u8,\n    pair: &(u8, u8),\n) {}\ntrait T { fn c(&self, pair: (u8, u8)); }\n";
        let found: Vec<_> = tuples(&planted(text)).into_iter().map(|f| f.line).collect();
        assert_eq!(found, [1, 4, 6]);
    }

    #[test]
    fn closures_units_and_lists_of_pairs_are_left_alone() {
        let text = "fn a(done: (), pairs: &[(u8, u8)], one: (u8,)) { pairs.iter().map(|(x, y)| x + y); }";
        assert!(tuples(&planted(text)).is_empty());
    }
}
