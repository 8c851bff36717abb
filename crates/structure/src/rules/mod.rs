//! The rules, and what to do about an offender of each.

mod circles;
mod glossary;
mod layers;
mod lengths;
mod links;
mod named_tests;
mod parameters;
mod shared_names;
mod specification;

use crate::offender::Offender;
use crate::tree::Tree;

/// Crates that run in production. The others are tools of development, and may not be imported by these.
const PRODUCT: &[&str] = &[
    "domain",
    "meter",
    "storage",
    "messaging",
    "chain",
    "runtime",
    "gateway",
    "mint-executor",
    "callback",
    "ops",
];

#[derive(Debug)]
pub struct Rule {
    pub name: &'static str,
    /// What holds when nothing is found.
    pub holds: &'static str,
    pub what_to_do: &'static str,
    /// The names are those of types that may be defined more than once.
    check: fn(&Tree, &[String]) -> Vec<Offender>,
}

pub const RULES: &[Rule] = &[
    Rule {
        name: layers::NAME,
        holds: "crates depend downward only, and each outside thing has one owner",
        what_to_do: "move the code to the crate that owns the thing, or the table in rules/layers.rs is wrong",
        check: |tree, _| layers::check(tree),
    },
    Rule {
        name: circles::NAME,
        holds: "no modules of a crate use one another in a circle",
        what_to_do: "move what both need into a third module, or let one of them take a value instead",
        check: |tree, _| circles::check(tree),
    },
    Rule {
        name: shared_names::NAME,
        holds: "a type name means one thing in all product crates",
        what_to_do: "name the type after what it is here, or give a reason in [[shared-names]] of ratchet.toml",
        check: shared_names::check,
    },
    Rule {
        name: lengths::FILE,
        holds: "a file has at most 400 lines",
        what_to_do: "move one subject into a file of its own",
        check: |tree, _| lengths::files(tree),
    },
    Rule {
        name: lengths::FUNCTION,
        holds: "a function has at most 60 lines between its braces",
        what_to_do: "give each step a function with a name",
        check: |tree, _| lengths::functions(tree),
    },
    Rule {
        name: parameters::COUNT,
        holds: "a function takes at most six parameters",
        what_to_do: "make what always goes together a struct, or a field of self",
        check: |tree, _| parameters::too_many(tree),
    },
    Rule {
        name: parameters::TUPLE,
        holds: "no parameter is a tuple",
        what_to_do: "take two parameters, or a struct whose fields have names",
        check: |tree, _| parameters::tuples(tree),
    },
    Rule {
        name: named_tests::NAME,
        holds: "tests that documents and lists name exist",
        what_to_do: "name the test that proves it now, or take the word out of the backquotes",
        check: |tree, _| named_tests::check(tree),
    },
    Rule {
        name: links::NAME,
        holds: "links, anchors and paths lead somewhere",
        what_to_do: "correct the path, or the heading that it leads to",
        check: |tree, _| links::check(tree),
    },
    Rule {
        name: glossary::NAME,
        holds: "types, tables and columns that the glossary names exist",
        what_to_do: "name what the word is called now in docs/GLOSSARY.md",
        check: |tree, _| glossary::check(tree),
    },
    Rule {
        name: specification::NAME,
        holds: "nothing refers to a specification that is not in the repository",
        what_to_do: "say it here, or name the page in docs/ that does",
        check: |tree, _| specification::check(tree),
    },
];

/// Everything that breaks a rule, in the order of rules and places.
pub fn offenders(tree: &Tree, may_be_shared: &[String]) -> Vec<Offender> {
    let mut all = Vec::new();
    for rule in RULES {
        let mut found = (rule.check)(tree, may_be_shared);
        found.sort();
        all.extend(found);
    }
    all
}

/// Whether the whole file is test code by where it lies.
fn is_test_file(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs") || path.contains("/benches/")
}
