//! Secrets as files: `<purpose>/[<owner or queue>/]<kid>`, in one directory per service, mode 0600.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use domain::signature::{HmacSecret, KeyId};
use runtime::Environment;
use secrecy::{ExposeSecret as _, SecretString};

use crate::settings::KeySettings;
use crate::user_error::user_error;

const KEYS_DIR: &str = "FIATRAILS_KEYS_DIR";
const KEYS_ROOT: &str = "FIATRAILS_KEYS_ROOT";

/// The location of one secret below a key directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyLocation {
    /// `integrator`, `mpesa`, `stored-answer` or `pipeline`.
    pub purpose: String,
    /// The integrator or the queue; `None` for other purposes.
    pub owner: Option<String>,
    pub key_id: KeyId,
}

impl KeyLocation {
    fn path_in(&self, dir: &Path) -> PathBuf {
        let purpose = dir.join(&self.purpose);
        let holder = self
            .owner
            .as_ref()
            .map_or_else(|| purpose.clone(), |owner| purpose.join(owner));
        holder.join(self.key_id.as_str())
    }

    /// The services that may know this secret, by their directory's name.
    fn services(&self) -> &'static [&'static str] {
        match (self.purpose.as_str(), self.owner.as_deref()) {
            ("mpesa", _) => &["gateway", "mint-executor", "callback", "ops"],
            ("pipeline", Some("mint.submit")) => &["gateway", "mint-executor", "ops"],
            ("pipeline", Some("mpesa.result")) => &["gateway", "callback", "ops"],
            ("pipeline", _) => &["mint-executor", "callback", "ops"],
            _ => &["gateway", "ops"],
        }
    }
}

/// The operator's key directory and, if they are mounted here, the services' directories.
pub struct KeyFiles {
    own: PathBuf,
    root: Option<PathBuf>,
}

impl KeyFiles {
    pub fn of(environment: &Environment) -> Result<Self> {
        let KeySettings {
            keys_dir: own,
            keys_root: root,
        } = environment.read()?;
        let own = own.or_else(|| root.as_ref().map(|root| root.join("ops")));
        let own = own.ok_or_else(|| {
            user_error(
                format!("neither {KEYS_DIR} nor {KEYS_ROOT} is set"),
                format!("export {KEYS_DIR}=/path/to/keys/ops, or {KEYS_ROOT} to the directory of all services' keys"),
            )
        })?;
        Ok(Self { own, root })
    }

    /// Lists every secret in the operator's directory, sorted.
    pub fn list(&self) -> Result<Vec<KeyLocation>> {
        let mut found = Vec::new();
        for purpose in names(&self.own)? {
            let dir = self.own.join(&purpose);
            let owned = matches!(purpose.as_str(), "integrator" | "pipeline");
            let owners = if owned {
                names(&dir)?.into_iter().map(Some).collect()
            } else {
                vec![None]
            };
            for owner in owners {
                let below = owner
                    .as_ref()
                    .map_or_else(|| dir.clone(), |owner| dir.join(owner));
                for name in names(&below)? {
                    // Editors and renames leave other files behind, which are no keys.
                    if let Ok(key_id) = name.parse() {
                        found.push(KeyLocation {
                            purpose: purpose.clone(),
                            owner: owner.clone(),
                            key_id,
                        });
                    }
                }
            }
        }
        found.sort();
        Ok(found)
    }

    /// Returns how long ago the secret was written.
    pub fn age(&self, location: &KeyLocation) -> Result<Duration> {
        let path = location.path_in(&self.own);
        let written = fs::metadata(&path).and_then(|meta| meta.modified());
        let written = written.with_context(|| format!("look at {}", path.display()))?;
        // A time in the future counts as age zero.
        Ok(written.elapsed().unwrap_or_default())
    }

    pub fn read(&self, location: &KeyLocation) -> Result<HmacSecret> {
        let path = location.path_in(&self.own);
        let text: SecretString = fs::read_to_string(&path)
            .with_context(|| format!("read {}", path.display()))?
            .into();
        HmacSecret::from_hex(text.expose_secret()).with_context(|| format!("key file {}", path.display()))
    }

    /// Writes the secret to every directory that it belongs to and returns the files. Refuses to overwrite.
    pub fn write(&self, location: &KeyLocation, secret_hex: &SecretString) -> Result<Vec<PathBuf>> {
        let paths = self.paths(location);
        if let Some(path) = paths.iter().find(|path| path.exists()) {
            bail!("{} exists already", path.display());
        }
        for path in &paths {
            write_new(path, secret_hex).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(paths)
    }

    /// Removes the secret from every directory that is mounted here and returns the removed files.
    pub fn remove(&self, location: &KeyLocation) -> Result<Vec<PathBuf>> {
        let mut removed = Vec::new();
        for path in self.paths(location) {
            match fs::remove_file(&path) {
                Ok(()) => removed.push(path),
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| format!("remove {}", path.display())),
            }
        }
        Ok(removed)
    }

    /// True if the services' own directories are written too.
    pub fn reaches_services(&self) -> bool {
        self.root.is_some()
    }

    fn paths(&self, location: &KeyLocation) -> Vec<PathBuf> {
        let mut paths = vec![location.path_in(&self.own)];
        if let Some(root) = &self.root {
            paths.extend(
                location
                    .services()
                    .iter()
                    .map(|service| location.path_in(&root.join(service))),
            );
        }
        paths.sort();
        paths.dedup();
        paths
    }
}

/// The names in a directory, without hidden ones; empty if the directory does not exist.
fn names(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error).with_context(|| format!("list {}", dir.display())),
    };
    let mut names = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        names.extend(
            name.to_str()
                .filter(|name| !name.starts_with('.'))
                .map(str::to_owned),
        );
    }
    Ok(names)
}

/// Writes a temporary file and links it into place, so that a service never reads a partial secret.
fn write_new(path: &Path, secret_hex: &SecretString) -> Result<()> {
    let dir = path.parent().context("a key file lies in a directory")?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let part = dir.join(format!(".{name}.part"));
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)?;
        writeln!(file, "{}", secret_hex.expose_secret())?;
        file.sync_all()?;
        // A hard link fails if the name exists, while a rename would replace a key that is in use.
        fs::hard_link(&part, path)?;
        File::open(dir)?.sync_all()
    })();
    let _ = fs::remove_file(&part);
    Ok(written?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn location(purpose: &str, owner: Option<&str>) -> KeyLocation {
        KeyLocation {
            purpose: purpose.into(),
            owner: owner.map(str::to_owned),
            key_id: "k1".parse().unwrap(),
        }
    }

    fn files(root: &Path) -> KeyFiles {
        KeyFiles {
            own: root.join("ops"),
            root: Some(root.to_path_buf()),
        }
    }

    #[test]
    fn a_secret_reaches_only_the_services_that_may_know_it() {
        let dir = tempfile::tempdir().unwrap();
        let secret: SecretString = "ab".repeat(32).into();
        files(dir.path())
            .write(&location("integrator", Some("acme")), &secret)
            .unwrap();
        files(dir.path())
            .write(&location("pipeline", Some("mint.execute")), &secret)
            .unwrap();
        let has = |path: &str| dir.path().join(path).exists();
        assert!(has("gateway/integrator/acme/k1") && has("ops/integrator/acme/k1"));
        assert!(!has("callback/integrator/acme/k1") && !has("mint-executor/integrator/acme/k1"));
        assert!(has("callback/pipeline/mint.execute/k1") && !has("gateway/pipeline/mint.execute/k1"));
        let mode = fs::metadata(dir.path().join("ops/integrator/acme/k1"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(files(dir.path()).list().unwrap().len(), 2);
    }

    #[test]
    fn an_existing_secret_is_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let keys = files(dir.path());
        keys.write(&location("mpesa", None), &"ab".repeat(32).into())
            .unwrap();
        assert!(
            keys.write(&location("mpesa", None), &"cd".repeat(32).into())
                .is_err()
        );
        let kept = fs::read_to_string(dir.path().join("callback/mpesa/k1")).unwrap();
        assert_eq!(kept.trim(), "ab".repeat(32));
        assert_eq!(keys.remove(&location("mpesa", None)).unwrap().len(), 4);
        assert!(keys.list().unwrap().is_empty());
    }
}
