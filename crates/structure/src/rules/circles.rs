//! Modules that use one another in a circle can only be understood, and moved, together.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::modules::{self, ModulePath, ModuleTree, Place};
use crate::offender::Offender;
use crate::tree::Tree;

pub const NAME: &str = "circles";

/// Who uses whom among modules with the same parent, each with one place that shows it.
type Graph = BTreeMap<ModulePath, BTreeMap<ModulePath, Place>>;

/// One offender for each module that lies in a circle, with the shortest one through it.
pub fn check(tree: &Tree) -> Vec<Offender> {
    let mut found = Vec::new();
    let names: BTreeSet<_> = tree
        .facts
        .keys()
        .filter_map(|path| path.strip_prefix("crates/")?.split('/').next())
        .collect();
    for name in names {
        for program in modules::of_crate(tree, name) {
            let graph = neighbours(&program);
            found.extend(
                graph
                    .keys()
                    .filter_map(|module| shortest(&graph, module))
                    .map(|circle| offender(&program, &circle)),
            );
        }
    }
    found
}

/// Lifts each use to where the two paths part.
fn neighbours(program: &ModuleTree) -> Graph {
    let mut graph = Graph::new();
    for ((from, to), place) in program.uses() {
        let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
        // One lies inside the other: they are one unit.
        if common == from.len() || common == to.len() {
            continue;
        }
        graph
            .entry(from[..=common].to_vec())
            .or_default()
            .entry(to[..=common].to_vec())
            .or_insert(place);
    }
    graph
}

/// The steps of a shortest circle through a module, which come back to it.
fn shortest<'a>(graph: &'a Graph, start: &'a ModulePath) -> Option<Vec<(&'a ModulePath, &'a Place)>> {
    let mut came_from: BTreeMap<&ModulePath, &ModulePath> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(module) = queue.pop_front() {
        for next in graph.get(module).into_iter().flat_map(BTreeMap::keys) {
            if next == start {
                came_from.insert(start, module);
                return steps(graph, start, &came_from);
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, module);
                queue.push_back(next);
            }
        }
    }
    None
}

fn steps<'a>(
    graph: &'a Graph,
    start: &'a ModulePath,
    came_from: &BTreeMap<&'a ModulePath, &'a ModulePath>,
) -> Option<Vec<(&'a ModulePath, &'a Place)>> {
    let mut steps = Vec::new();
    let mut at = start;
    loop {
        let before = *came_from.get(at)?;
        steps.push((before, graph.get(before)?.get(at)?));
        at = before;
        if at == start {
            steps.reverse();
            return Some(steps);
        }
    }
}

fn offender(program: &ModuleTree, circle: &[(&ModulePath, &Place)]) -> Offender {
    let next = circle.iter().cycle().skip(1);
    let steps: Vec<_> = circle
        .iter()
        .zip(next)
        .map(|((from, place), (to, _))| {
            format!(
                "{} uses {} ({}:{})",
                from.join("::"),
                to.join("::"),
                place.file,
                place.line
            )
        })
        .collect();
    let (module, place) = circle[0];
    let file = program.file_of(module);
    let line = if place.file == file { place.line } else { 1 };
    Offender::new(NAME, file, line, steps.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(files: &[(&str, &str)]) -> Vec<String> {
        check(&Tree::planted(files))
            .into_iter()
            .map(|found| found.message)
            .collect()
    }

    const LIB: (&str, &str) = ("crates/ops/src/lib.rs", "mod a; mod b; mod c;");

    #[test]
    fn a_circle_of_three_is_shown_with_every_step() {
        let found = messages(&[
            LIB,
            ("crates/ops/src/a.rs", "\nuse crate::b::B;\npub struct A;"),
            ("crates/ops/src/b.rs", "pub struct B(super::c::C);"),
            (
                "crates/ops/src/c.rs",
                "pub struct C;\n\nfn f() { log!(\"{}\", crate::a::A); }",
            ),
        ]);
        assert_eq!(found.len(), 3, "{found:?}");
        assert_eq!(
            found[0],
            "a uses b (crates/ops/src/a.rs:2), b uses c (crates/ops/src/b.rs:1), c uses a (crates/ops/src/c.rs:3)"
        );
    }

    #[test]
    fn a_line_of_modules_is_no_circle() {
        let found = messages(&[
            LIB,
            (
                "crates/ops/src/a.rs",
                "use crate::b::B;\nuse crate::c::C;\npub struct A;",
            ),
            ("crates/ops/src/b.rs", "use super::c::C; pub struct B;"),
            (
                "crates/ops/src/c.rs",
                "pub struct C;\n#[cfg(test)]\nmod tests { use crate::a::A; }",
            ),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn a_parent_and_its_children_are_one_unit() {
        let found = messages(&[
            ("crates/ops/src/lib.rs", "mod a;"),
            (
                "crates/ops/src/a/mod.rs",
                "mod b; pub use b::B; pub struct A; fn f() { b::g(); }",
            ),
            (
                "crates/ops/src/a/b.rs",
                "use super::A; pub struct B; pub fn g() {}",
            ),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn children_of_two_units_make_their_parents_a_circle() {
        let found = messages(&[
            LIB,
            ("crates/ops/src/a.rs", "mod x; mod y;"),
            ("crates/ops/src/a/x.rs", "use crate::b::B;"),
            ("crates/ops/src/a/y.rs", "pub struct Y;"),
            ("crates/ops/src/b.rs", "use crate::a::y::Y; pub struct B;"),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("a uses b (crates/ops/src/a/x.rs:1), b uses a ("));
    }

    #[test]
    fn a_re_export_is_looked_through() {
        let found = messages(&[
            (
                "crates/ops/src/lib.rs",
                "mod a; mod b; pub use a::A; pub use b::*;",
            ),
            ("crates/ops/src/a.rs", "use crate::B; pub struct A;"),
            ("crates/ops/src/b.rs", "use super::A; pub struct B;"),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
    }

    #[test]
    fn a_program_has_modules_of_its_own() {
        let found = messages(&[
            ("crates/ops/src/bin/x/main.rs", "mod a; mod b;"),
            ("crates/ops/src/bin/x/a.rs", "use crate::b::B; pub struct A;"),
            ("crates/ops/src/bin/x/b.rs", "pub struct B;"),
            ("crates/ops/src/bin/y.rs", "mod b { use crate::a::A; } mod a {}"),
            ("crates/ops/src/main.rs", "use ops::a::A;"),
        ]);
        assert_eq!(found, Vec::<String>::new());
    }
}
