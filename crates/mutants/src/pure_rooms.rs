//! The files that cargo-mutants looks at.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::tree;

const CONFIGURATION: &str = ".cargo/mutants.toml";
/// How a whole folder is written.
const FOLDER: &str = "/**/*.rs";

#[derive(Debug)]
pub struct PureRooms {
    globs: Vec<String>,
    files: BTreeSet<PathBuf>,
}

#[derive(Deserialize)]
struct Configuration {
    examine_globs: Vec<String>,
}

impl PureRooms {
    pub fn read(root: &Path) -> Result<Self> {
        let text = fs::read_to_string(root.join(CONFIGURATION)).context(CONFIGURATION)?;
        let configuration: Configuration = toml::from_str(&text).context(CONFIGURATION)?;
        Ok(Self {
            globs: configuration.examine_globs,
            files: tree::files(root)?,
        })
    }

    pub fn examine(&self, file: &Path) -> bool {
        self.globs.iter().any(|glob| is_in(file, glob))
    }

    /// Files that were renamed would be left out without a word.
    pub fn problems(&self) -> Vec<String> {
        let finds_nothing = |glob: &&String| !self.files.iter().any(|file| is_in(file, glob));
        let lost = self.globs.iter().filter(finds_nothing);
        lost.map(|glob| format!("{CONFIGURATION}: no file is {glob}"))
            .collect()
    }
}

fn is_in(file: &Path, glob: &str) -> bool {
    match glob.strip_suffix(FOLDER) {
        Some(folder) => file.starts_with(folder) && file.extension().is_some_and(|ending| ending == "rs"),
        None => file == Path::new(glob),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_renamed_is_named() {
        let rooms = PureRooms {
            globs: ["crates/domain/src/**/*.rs", "crates/chain/src/fees.rs"]
                .map(ToOwned::to_owned)
                .into(),
            files: [PathBuf::from("crates/domain/src/deep/money.rs")].into(),
        };
        assert!(rooms.examine(Path::new("crates/domain/src/deep/money.rs")));
        assert!(!rooms.examine(Path::new("crates/domain/tests/money.rs")));
        assert_eq!(
            rooms.problems(),
            [".cargo/mutants.toml: no file is crates/chain/src/fees.rs"]
        );
    }
}
