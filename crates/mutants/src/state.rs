//! What was shown so far, kept so that a run that was cut off goes on where it stopped.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Killed(Vec<String>),
    Survived,
    /// There is no answer: it does not compile, say.
    Error(String),
}

#[derive(Debug)]
pub struct State {
    file: PathBuf,
    stored: Stored,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Stored {
    /// Of the tree all this was shown for.
    fingerprint: String,
    verdicts: BTreeMap<String, Verdict>,
}

impl State {
    /// Nothing is kept over a change of the tree.
    pub fn load(target: &Path, fingerprint: &str, again: bool) -> Self {
        let file = target.join("guards.json");
        let stored: Stored = fs::read(&file)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        let stored = if stored.fingerprint == fingerprint && !again {
            stored
        } else {
            Stored {
                fingerprint: fingerprint.to_owned(),
                verdicts: BTreeMap::new(),
            }
        };
        Self { file, stored }
    }

    /// A guard without an answer is tried again.
    pub fn known(&self, lost: &str) -> Option<&Verdict> {
        self.stored
            .verdicts
            .get(lost)
            .filter(|verdict| !matches!(verdict, Verdict::Error(_)))
    }

    pub fn keep(&mut self, lost: &str, verdict: Verdict) -> Result<()> {
        self.stored.verdicts.insert(lost.to_owned(), verdict);
        fs::write(&self.file, serde_json::to_vec_pretty(&self.stored)?)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_goes_on_where_it_stopped_and_begins_anew_with_another_tree() {
        let dir = tempfile::tempdir().unwrap();
        let mut state = State::load(dir.path(), "one", false);
        state
            .keep("killed", Verdict::Killed(vec!["a test".to_owned()]))
            .unwrap();
        state
            .keep("unknown", Verdict::Error("does not compile".to_owned()))
            .unwrap();
        let state = State::load(dir.path(), "one", false);
        assert!(state.known("killed").is_some() && state.known("unknown").is_none());
        for (fingerprint, again) in [("one", true), ("two", false)] {
            assert!(
                State::load(dir.path(), fingerprint, again)
                    .known("killed")
                    .is_none()
            );
        }
    }
}
