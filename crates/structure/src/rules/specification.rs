//! Everything that the code relies on stands in the repository.

use crate::offender::Offender;
use crate::tree::Tree;

pub const NAME: &str = "specification";

/// The capital word alone, or a section of something that is not here.
const ABSENT: [&str; 3] = ["of the spec", "of the specification", "the spec says"];

pub fn check(tree: &Tree) -> Vec<Offender> {
    let mut found = Vec::new();
    // This crate has to say the words.
    let others = tree
        .files
        .iter()
        .filter(|(path, _)| !path.starts_with("crates/structure/"));
    for (path, text) in others {
        for (index, line) in text.lines().enumerate() {
            if let Some(words) = reference(line) {
                let message = format!("refers to `{words}`, which is not in the repository");
                found.push(Offender::new(NAME, path, index + 1, message));
            }
        }
    }
    found
}

fn reference(line: &str) -> Option<&str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    line.split(|c| !is_word(c))
        .find(|word| *word == "SPEC")
        .or_else(|| ABSENT.into_iter().find(|words| line.contains(words)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_to_what_is_not_here_is_seen() {
        for line in [
            "//! Idempotency keys (SPEC section 4.2).",
            "see SPEC.md",
            "as section 11 of the spec asks",
        ] {
            let tree = Tree::planted(&[("docs/a.md", &format!("first\n{line}\n"))]);
            let found = check(&tree);
            assert_eq!(found.len(), 1, "{line}");
            assert_eq!(found[0].line, 2);
        }
    }

    #[test]
    fn other_words_are_left_alone() {
        for line in [
            "a special case, SPECIAL",
            "FIATRAILS_SPEC_X",
            "openapi: specification of the routes",
        ] {
            assert_eq!(reference(line), None, "{line}");
        }
    }
}
