//! The directory of a stack: its remembered choices (`state.json`) and the settings it hands out.

use std::{
    fs,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::{Serialize, de::DeserializeOwned};

/// Creates the directory: others may pass through (PostgreSQL's user must), not look.
pub fn prepare_dir(dir: &Path) -> Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    fs::set_permissions(dir, PermissionsExt::from_mode(0o711))?;
    dir.canonicalize()
        .with_context(|| format!("path of {}", dir.display()))
}

fn state_file(dir: &Path) -> PathBuf {
    dir.join("state.json")
}

pub fn load<T: DeserializeOwned>(dir: &Path) -> Result<Option<T>> {
    let path = state_file(dir);
    if !path.is_file() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path)?;
    let state =
        serde_json::from_str(&text).with_context(|| format!("{}; `make down` resets it", path.display()))?;
    Ok(Some(state))
}

/// What was chosen before, else what `choose` chooses now, remembered.
pub fn load_or<T: Serialize + DeserializeOwned>(dir: &Path, choose: impl FnOnce() -> Result<T>) -> Result<T> {
    if let Some(state) = load(dir)? {
        return Ok(state);
    }
    let state = choose()?;
    save(dir, &state)?;
    Ok(state)
}

pub fn save<T: Serialize>(dir: &Path, state: &T) -> Result<()> {
    write_private(&state_file(dir), &serde_json::to_string_pretty(state)?)
}

/// `export NAME='value'` lines.
pub fn write_env(path: &Path, settings: &[(&str, String)]) -> Result<()> {
    let lines: Vec<String> = settings
        .iter()
        .map(|(name, value)| format!("export {name}='{}'\n", value.replace('\'', r"'\''")))
        .collect();
    write_private(path, &lines.concat())
}

/// Holds secrets: readable by the owner alone, and never half written.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    let dir = path
        .parent()
        .filter(|dir| !dir.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(dir)?;
    file.write_all(text.as_bytes())?;
    file.persist(path)
        .with_context(|| format!("write {}", path.display()))?;
    Ok(())
}
