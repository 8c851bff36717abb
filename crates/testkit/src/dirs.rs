//! Paths: the workspace, the built binaries, and private directories for servers.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// The workspace root of the source tree this crate was built from.
pub fn workspace() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

/// A binary of this workspace, beside the running one (`target/<profile>/<name>`).
pub fn binary(name: &str) -> Result<PathBuf> {
    let exe = std::env::current_exe().context("path of the running program")?;
    for dir in exe.ancestors().skip(1).take(2) {
        let candidate = dir.join(name);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!(
        "binary {name} is not built beside {}; run `cargo build --workspace --bins`",
        exe.display()
    )
}

/// A fresh private directory, removed on drop. Lies under `TESTKIT_TMP` if set (one tree per run, so
/// that whatever a killed test leaves is removed with the run), else under the system's own.
pub fn private(prefix: &str) -> Result<TempDir> {
    private_in(&temporary(), prefix)
}

pub fn temporary() -> PathBuf {
    std::env::var_os("TESTKIT_TMP").map_or_else(std::env::temp_dir, PathBuf::from)
}

/// Prefix of the name of every private directory.
pub const PREFIX: &str = "fiatrails-";

pub fn private_in(base: &Path, prefix: &str) -> Result<TempDir> {
    std::fs::create_dir_all(base).with_context(|| format!("create {}", base.display()))?;
    let dir = tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{prefix}-"))
        .tempdir_in(base)
        .with_context(|| format!("private directory in {}", base.display()))?;
    // Other users may traverse the directory but not list it: servers that run as another user reach their own part.
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o711))?;
    Ok(dir)
}

/// Whether `user` can walk to `dir`. A clone under `/root` (0700) is the usual reason it cannot.
pub fn reachable_by(user: &str, dir: &Path) -> bool {
    Command::new("setpriv")
        .args([
            &format!("--reuid={user}"),
            &format!("--regid={user}"),
            "--clear-groups",
            "test",
            "-x",
        ])
        .arg(dir)
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
