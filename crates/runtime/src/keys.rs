//! The mounted secrets. The path of a key file determines the key's purpose and owner (docs/SIGNING.md).
//!
//! ```text
//! integrator/<owner>/<kid>   mpesa/<kid>   stored-answer/<kid>   pipeline/<queue>/<kid>
//! ```
//! The directory is read again every 2 s. If a file cannot be read, its previous secret stays; if a file is gone, its
//! secret is dropped. A new key verifies immediately but signs only after a delay, when every process has had time to
//! read it, so that nothing is signed under a key that its reader does not know.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use domain::ids::IntegratorId;
use domain::key_ring::KeyRing;
use domain::signature::{HmacSecret, KeyId};
use messaging::{PipelineKeys, SharedPipelineKeys, WorkQueue};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::observe;

/// How long a new key stays pending before it signs, unless there is no other key: a few polls of the slowest process.
const ACTIVATION_DELAY: Duration = Duration::from_secs(10);
/// Maximum size of a key file, in bytes.
const MAX_FILE_BYTES: u64 = 4096;

#[derive(Debug, thiserror::Error)]
#[error("the key directory {} cannot be read", .dir.display())]
pub struct KeyError {
    dir: PathBuf,
    source: io::Error,
}

/// Every secret that is mounted for this process, by purpose.
#[derive(Clone, Debug, Default)]
pub struct MountedKeys {
    pub integrators: BTreeMap<IntegratorId, KeyRing>,
    pub mpesa: KeyRing,
    pub stored_answers: KeyRing,
    pub pipeline: PipelineKeys,
}

impl MountedKeys {
    /// Finds the integrator that owns a key, and the secret.
    pub fn integrator(&self, key_id: &KeyId) -> Option<(&IntegratorId, &HmacSecret)> {
        self.integrators
            .iter()
            .find_map(|(owner, ring)| Some((owner, ring.get(key_id)?)))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum KeyPath {
    Integrator(IntegratorId, KeyId),
    Mpesa(KeyId),
    StoredAnswer(KeyId),
    Pipeline(WorkQueue, KeyId),
}

impl KeyPath {
    /// Returns `None` if the path does not belong to a key.
    fn of(parts: &[&str]) -> Option<Self> {
        match parts {
            ["integrator", owner, kid] => Some(Self::Integrator(owner.parse().ok()?, kid.parse().ok()?)),
            ["mpesa", kid] => Some(Self::Mpesa(kid.parse().ok()?)),
            ["stored-answer", kid] => Some(Self::StoredAnswer(kid.parse().ok()?)),
            ["pipeline", queue, kid] => {
                let queue = WorkQueue::ALL.into_iter().find(|q| q.operation() == *queue)?;
                Some(Self::Pipeline(queue, kid.parse().ok()?))
            }
            _ => None,
        }
    }
}

type Secrets = BTreeMap<KeyPath, LoadedSecret>;

#[derive(Clone, Debug)]
struct LoadedSecret {
    secret: HmacSecret,
    /// When the key first appeared; `None` if it was there at start-up or is active by now.
    pending_since: Option<Instant>,
}

impl LoadedSecret {
    fn is_pending(&self, now: Instant) -> bool {
        self.pending_since
            .is_some_and(|since| now < since + ACTIVATION_DELAY)
    }
}

/// The key directory and what was read from it. Clones share the current keys.
#[derive(Clone, Debug)]
pub struct KeyDirectory {
    dir: PathBuf,
    current: Arc<watch::Sender<Arc<MountedKeys>>>,
    pipeline: SharedPipelineKeys,
    secrets: Arc<tokio::sync::Mutex<Secrets>>,
}

impl KeyDirectory {
    /// Reads the directory, which must exist.
    pub fn open(dir: &Path) -> Result<Self, KeyError> {
        let secrets = read_directory(dir, &Secrets::new(), None)?;
        let keys = Arc::new(build_keys(&secrets, Instant::now()));
        let opened = Self {
            dir: dir.to_owned(),
            pipeline: SharedPipelineKeys::new(keys.pipeline.clone()),
            current: Arc::new(watch::Sender::new(keys)),
            secrets: Arc::new(tokio::sync::Mutex::new(secrets)),
        };
        opened.update_gauges();
        Ok(opened)
    }

    pub fn current(&self) -> Arc<MountedKeys> {
        self.current.borrow().clone()
    }

    /// Returns a receiver that is notified after every change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<MountedKeys>> {
        self.current.subscribe()
    }

    /// The pipeline keys for sealers and openers; they follow the directory.
    pub fn pipeline(&self) -> SharedPipelineKeys {
        self.pipeline.clone()
    }

    /// Reads the directory again. Returns true if anything changed.
    pub async fn reload(&self) -> Result<bool, KeyError> {
        self.reload_at(Instant::now()).await
    }

    async fn reload_at(&self, now: Instant) -> Result<bool, KeyError> {
        let mut secrets = self.secrets.lock().await;
        let (dir, before) = (self.dir.clone(), secrets.clone());
        let read = tokio::task::spawn_blocking(move || read_directory(&dir, &before, Some(now))).await;
        let mut next = read.unwrap_or_else(|_| Ok(secrets.clone()))?;
        let keys = Arc::new(build_keys(&next, now));
        let activated = activate_pending(&mut next, now);
        if same_secrets(&secrets, &next) && !activated {
            return Ok(false);
        }
        self.pipeline.replace(keys.pipeline.clone());
        self.current.send_replace(keys);
        *secrets = next;
        tracing::info!(keys = secrets.len(), "keys reloaded");
        self.update_gauges();
        Ok(true)
    }

    fn update_gauges(&self) {
        let keys = self.current();
        let integrators = keys.integrators.values().map(|ring| ring.key_ids().count()).sum();
        let pipeline = WorkQueue::ALL
            .into_iter()
            .map(|queue| keys.pipeline.kids(queue).count())
            .sum();
        for (purpose, count) in [
            ("integrator", integrators),
            ("mpesa", keys.mpesa.key_ids().count()),
            ("stored-answer", keys.stored_answers.key_ids().count()),
            ("pipeline", pipeline),
        ] {
            let count: usize = count;
            observe::KEYS.set([purpose], meter::number(count));
        }
    }
}

fn same_secrets(a: &Secrets, b: &Secrets) -> bool {
    // The MAC of a fixed message distinguishes two secrets without revealing them.
    let mark = |seen: &LoadedSecret| *seen.secret.mac(b"same?").as_bytes();
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|((p, s), (q, t))| p == q && mark(s) == mark(t))
}

/// Marks pending keys as active once their delay is over. Returns true if there were any.
fn activate_pending(secrets: &mut Secrets, now: Instant) -> bool {
    let mut activated = false;
    for seen in secrets.values_mut() {
        if seen.pending_since.is_some() && !seen.is_pending(now) {
            seen.pending_since = None;
            activated = true;
        }
    }
    activated
}

fn build_keys(secrets: &Secrets, now: Instant) -> MountedKeys {
    let mut keys = MountedKeys::default();
    for (path, seen) in secrets {
        let secret = seen.secret.clone();
        match path.clone() {
            KeyPath::Integrator(owner, kid) => keys.integrators.entry(owner).or_default().insert(kid, secret),
            KeyPath::Mpesa(kid) => keys.mpesa.insert(kid, secret),
            KeyPath::StoredAnswer(kid) => {
                if seen.is_pending(now) {
                    keys.stored_answers.mark_pending(kid.clone());
                }
                keys.stored_answers.insert(kid, secret);
            }
            KeyPath::Pipeline(queue, kid) => {
                if seen.is_pending(now) {
                    keys.pipeline.mark_pending(queue, kid.clone());
                }
                keys.pipeline.insert(queue, kid, secret);
            }
        }
    }
    keys
}

fn read_directory(dir: &Path, before: &Secrets, now: Option<Instant>) -> Result<Secrets, KeyError> {
    let mut files = Vec::new();
    walk(dir, 0, &mut files).map_err(|source| KeyError {
        dir: dir.to_owned(),
        source,
    })?;
    let mut secrets = Secrets::new();
    for file in files {
        let relative = file.strip_prefix(dir).unwrap_or(&file);
        let parts: Option<Vec<&str>> = relative.iter().map(|part| part.to_str()).collect();
        let Some(path) = parts.as_deref().and_then(KeyPath::of) else {
            report_refused_file(relative, "this is no key's place or name");
            continue;
        };
        match read_secret(&file) {
            Ok(secret) => {
                let since = before.get(&path).map_or(now, |seen| seen.pending_since);
                secrets.insert(
                    path,
                    LoadedSecret {
                        secret,
                        pending_since: since,
                    },
                );
            }
            Err(problem) => {
                report_refused_file(relative, &problem);
                if let Some(previous) = before.get(&path) {
                    secrets.insert(path, previous.clone());
                }
            }
        }
    }
    Ok(secrets)
}

fn report_refused_file(file: &Path, problem: &str) {
    observe::KEY_FILES_REFUSED.increment([]);
    tracing::error!(file = %file.display(), problem, "key file refused");
}

/// Collects files at most three levels down. Names with a leading dot are ignored: mounts and writers use them.
fn walk(dir: &Path, depth: u8, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // Follows symbolic links, because orchestrators mount secrets with them.
        let path = entry.path();
        if path.is_dir() {
            if depth < 3 {
                walk(&path, depth + 1, files)?;
            }
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn read_secret(file: &Path) -> Result<HmacSecret, String> {
    let length = fs::metadata(file).map_err(|e| e.to_string())?.len();
    if length > MAX_FILE_BYTES {
        return Err(format!("{length} bytes are too many for a key"));
    }
    let text = zeroize::Zeroizing::new(fs::read_to_string(file).map_err(|e| e.to_string())?);
    HmacSecret::from_hex(&text).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests;
