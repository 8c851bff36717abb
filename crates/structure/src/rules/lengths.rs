//! Files and functions stay short enough to be read at once.

use crate::offender::Offender;
use crate::tree::Tree;

pub const FILE: &str = "file-length";
pub const FUNCTION: &str = "function-length";

const FILE_LINES: usize = 400;
const FUNCTION_LINES: usize = 60;

/// Test files too: a test that nobody can find is not much of a promise.
pub fn files(tree: &Tree) -> Vec<Offender> {
    tree.facts
        .keys()
        .filter_map(|path| {
            let lines = tree.files.get(path)?.lines().count();
            let message = format!("{lines} lines, at most {FILE_LINES}");
            (lines > FILE_LINES).then(|| Offender::new(FILE, path, 1, message))
        })
        .collect()
}

pub fn functions(tree: &Tree) -> Vec<Offender> {
    let mut found = Vec::new();
    for (path, facts) in &tree.facts {
        for function in facts.functions.iter().filter(|f| f.body_lines > FUNCTION_LINES) {
            let message = format!(
                "`{}` has {} lines, at most {FUNCTION_LINES}",
                function.name, function.body_lines
            );
            found.push(Offender::new(FUNCTION, path, function.line, message));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_401_lines_is_too_long() {
        let (just, long) = ("//\n".repeat(400), "//\n".repeat(401));
        let tree = Tree::planted(&[("crates/ops/src/a.rs", &just), ("crates/ops/src/b.rs", &long)]);
        let found = files(&tree);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].file.as_str(), found[0].message.as_str()),
            ("crates/ops/src/b.rs", "401 lines, at most 400")
        );
    }

    #[test]
    fn a_function_is_measured_from_brace_to_brace_wherever_it_stands() {
        let of = |lines: usize| format!("{{\n{}}}\n", "let _ = 1;\n".repeat(lines - 2));
        let text = format!(
            "// above\nfn short() {}fn long() {}impl X {{ fn method() {} }}\ntrait Y {{ fn given() {} fn asked(); }}\n",
            of(60),
            of(61),
            of(62),
            of(63)
        );
        let tree = Tree::planted(&[("crates/ops/src/a.rs", &text)]);
        let found: Vec<_> = functions(&tree)
            .into_iter()
            .map(|f| (f.line, f.message))
            .collect();
        assert_eq!(
            found,
            [
                (62, "`long` has 61 lines, at most 60".to_owned()),
                (123, "`method` has 62 lines, at most 60".to_owned()),
                (186, "`given` has 63 lines, at most 60".to_owned()),
            ]
        );
    }
}
