//! The mounted secrets: purpose and owner of a key come from where its file lies (docs/SIGNING.md).
//!
//! ```text
//! integrator/<owner>/<kid>   mpesa/<kid>   stored-answer/<kid>   pipeline/<queue>/<kid>
//! ```
//! The directory is read again every 2 s. A file that cannot be read keeps the secret it had; a file that is gone
//! takes its secret along. A key that appears verifies at once and signs only once everybody has had the time to read
//! it, so that nothing is signed under a key which its reader has not heard of.

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

use crate::lifecycle::Stop;
use crate::observe;

const POLL: Duration = Duration::from_secs(2);
/// From the first sight of a key until it signs, unless there is no other: a few polls of the slowest.
const YOUTH: Duration = Duration::from_secs(10);
/// Longest key file we read, bytes.
const MAX_FILE_BYTES: u64 = 4096;

#[derive(Debug, thiserror::Error)]
#[error("the key directory {} cannot be read", .dir.display())]
pub struct KeyError {
    dir: PathBuf,
    source: io::Error,
}

/// Every secret this process was given, by purpose.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    pub integrators: BTreeMap<IntegratorId, KeyRing>,
    pub mpesa: KeyRing,
    pub stored_answers: KeyRing,
    pub pipeline: PipelineKeys,
}

impl Keys {
    /// The integrator that owns a key, and its secret.
    pub fn integrator(&self, key_id: &KeyId) -> Option<(&IntegratorId, &HmacSecret)> {
        self.integrators
            .iter()
            .find_map(|(owner, ring)| Some((owner, ring.get(key_id)?)))
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Integrator(IntegratorId, KeyId),
    Mpesa(KeyId),
    StoredAnswer(KeyId),
    Pipeline(WorkQueue, KeyId),
}

impl Place {
    /// `None` for a path that is no key's place.
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

type Secrets = BTreeMap<Place, Seen>;

#[derive(Clone, Debug)]
struct Seen {
    secret: HmacSecret,
    /// When it was first seen; `None` when it was there from the start.
    since: Option<Instant>,
}

impl Seen {
    fn is_young(&self, now: Instant) -> bool {
        self.since.is_some_and(|since| now < since + YOUTH)
    }
}

/// The directory and what was read from it; clones share the current keys.
#[derive(Clone, Debug)]
pub struct KeyDirectory {
    dir: PathBuf,
    current: Arc<watch::Sender<Arc<Keys>>>,
    pipeline: SharedPipelineKeys,
    secrets: Arc<tokio::sync::Mutex<Secrets>>,
}

impl KeyDirectory {
    /// Reads the directory; it must exist.
    pub fn open(dir: &Path) -> Result<Self, KeyError> {
        let secrets = read(dir, &Secrets::new(), None)?;
        let keys = Arc::new(arrange(&secrets, Instant::now()));
        let opened = Self {
            dir: dir.to_owned(),
            pipeline: SharedPipelineKeys::new(keys.pipeline.clone()),
            current: Arc::new(watch::Sender::new(keys)),
            secrets: Arc::new(tokio::sync::Mutex::new(secrets)),
        };
        opened.show();
        Ok(opened)
    }

    pub fn current(&self) -> Arc<Keys> {
        self.current.borrow().clone()
    }

    /// Told after every change.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Keys>> {
        self.current.subscribe()
    }

    /// For sealers and openers: follows the directory by itself.
    pub fn pipeline(&self) -> SharedPipelineKeys {
        self.pipeline.clone()
    }

    /// Reads the directory again and says whether anything changed.
    pub async fn reload(&self) -> Result<bool, KeyError> {
        self.reload_at(Instant::now()).await
    }

    async fn reload_at(&self, now: Instant) -> Result<bool, KeyError> {
        let mut secrets = self.secrets.lock().await;
        let (dir, before) = (self.dir.clone(), secrets.clone());
        let read = tokio::task::spawn_blocking(move || read(&dir, &before, Some(now))).await;
        let mut next = read.unwrap_or_else(|_| Ok(secrets.clone()))?;
        let keys = Arc::new(arrange(&next, now));
        let grown = come_of_age(&mut next, now);
        if same(&secrets, &next) && !grown {
            return Ok(false);
        }
        self.pipeline.replace(keys.pipeline.clone());
        self.current.send_replace(keys);
        *secrets = next;
        tracing::info!(keys = secrets.len(), "keys reloaded");
        self.show();
        Ok(true)
    }

    /// Follows the directory until the stop.
    pub async fn watch(self, stop: Stop) {
        while stop.sleep(POLL).await {
            if let Err(error) = self.reload().await {
                tracing::error!(error = %crate::chain(&error), "keys stay as they were");
            }
        }
    }

    fn show(&self) {
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
            observe::KEYS.set([purpose], f64::from(u32::try_from(count).unwrap_or(u32::MAX)));
        }
    }
}

fn same(a: &Secrets, b: &Secrets) -> bool {
    // A fixed message's MAC tells two secrets apart without ever showing one.
    let mark = |seen: &Seen| *seen.secret.mac(b"same?").as_bytes();
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .all(|((p, s), (q, t))| p == q && mark(s) == mark(t))
}

/// Forgets the youth of what has grown; true when there was any.
fn come_of_age(secrets: &mut Secrets, now: Instant) -> bool {
    let mut grown = false;
    for seen in secrets.values_mut() {
        if seen.since.is_some() && !seen.is_young(now) {
            seen.since = None;
            grown = true;
        }
    }
    grown
}

fn arrange(secrets: &Secrets, now: Instant) -> Keys {
    let mut keys = Keys::default();
    for (place, seen) in secrets {
        let secret = seen.secret.clone();
        match place.clone() {
            Place::Integrator(owner, kid) => keys.integrators.entry(owner).or_default().insert(kid, secret),
            Place::Mpesa(kid) => keys.mpesa.insert(kid, secret),
            Place::StoredAnswer(kid) => {
                if seen.is_young(now) {
                    keys.stored_answers.mark_pending(kid.clone());
                }
                keys.stored_answers.insert(kid, secret);
            }
            Place::Pipeline(queue, kid) => {
                if seen.is_young(now) {
                    keys.pipeline.keep_young(queue, kid.clone());
                }
                keys.pipeline.insert(queue, kid, secret);
            }
        }
    }
    keys
}

fn read(dir: &Path, before: &Secrets, now: Option<Instant>) -> Result<Secrets, KeyError> {
    let mut files = Vec::new();
    walk(dir, 0, &mut files).map_err(|source| KeyError {
        dir: dir.to_owned(),
        source,
    })?;
    let mut secrets = Secrets::new();
    for file in files {
        let relative = file.strip_prefix(dir).unwrap_or(&file);
        let parts: Option<Vec<&str>> = relative.iter().map(|part| part.to_str()).collect();
        let Some(place) = parts.as_deref().and_then(Place::of) else {
            refuse(relative, "this is no key's place or name");
            continue;
        };
        match read_secret(&file) {
            Ok(secret) => {
                let since = before.get(&place).map_or(now, |seen| seen.since);
                secrets.insert(place, Seen { secret, since });
            }
            Err(problem) => {
                refuse(relative, &problem);
                if let Some(kept) = before.get(&place) {
                    secrets.insert(place, kept.clone());
                }
            }
        }
    }
    Ok(secrets)
}

fn refuse(file: &Path, problem: &str) {
    observe::KEY_FILES_REFUSED.one([]);
    tracing::error!(file = %file.display(), problem, "key file refused");
}

/// Files at most three levels down. Names with a leading dot belong to whoever mounts or writes the directory.
fn walk(dir: &Path, depth: u8, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with('.') {
            continue;
        }
        // Follows symbolic links: orchestrators mount secrets by them.
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
mod tests {
    use super::*;

    fn put(dir: &Path, file: &str, content: &str) {
        let path = dir.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn kid(text: &str) -> KeyId {
        text.parse().unwrap()
    }

    #[tokio::test]
    async fn a_bad_file_is_skipped_and_drops_no_good_key() {
        let dir = tempfile::tempdir().unwrap();
        let good = "ab".repeat(32);
        put(dir.path(), "mpesa/m1", &format!("{good}\n"));
        put(dir.path(), "mpesa/short", "abcd");
        put(dir.path(), "mpesa/bad name", &good);
        put(dir.path(), "elsewhere/x", &good);
        put(dir.path(), "mpesa/.hidden", &good);
        put(dir.path(), "integrator/dev/i1", &good);
        put(dir.path(), "stored-answer/s1", &good);
        put(dir.path(), "pipeline/mint.execute/p1", &good);
        let keys = KeyDirectory::open(dir.path()).unwrap();
        let now = keys.current();
        assert_eq!(now.mpesa.key_ids().collect::<Vec<_>>(), [&kid("m1")]);
        assert_eq!(now.integrator(&kid("i1")).unwrap().0.as_str(), "dev");
        assert!(now.stored_answers.current().is_some());
        assert_eq!(now.pipeline.kids(WorkQueue::MintExecute).count(), 1);
        assert!(!keys.reload().await.unwrap());

        put(dir.path(), "mpesa/m1", "half writ");
        put(dir.path(), "mpesa/m2", &"cd".repeat(32));
        assert!(keys.reload().await.unwrap());
        let now = keys.current();
        assert!(
            now.mpesa.get(&kid("m1")).is_some(),
            "a key whose file broke stays"
        );
        assert_eq!(now.mpesa.current().unwrap().0, &kid("m2"));

        fs::remove_file(dir.path().join("mpesa/m1")).unwrap();
        assert!(keys.reload().await.unwrap());
        assert!(
            keys.current().mpesa.get(&kid("m1")).is_none(),
            "a removed key is gone"
        );
    }

    #[tokio::test]
    async fn a_changed_secret_is_a_change_and_reaches_the_pipeline() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "pipeline/mint.refund/p1", &"ab".repeat(32));
        let keys = KeyDirectory::open(dir.path()).unwrap();
        let shared = keys.pipeline();
        let mut told = keys.subscribe();
        put(dir.path(), "pipeline/mint.refund/p1", &"cd".repeat(32));
        put(dir.path(), "pipeline/mint.refund/p2", &"ef".repeat(32));
        assert!(keys.reload().await.unwrap());
        assert!(told.has_changed().unwrap());
        told.mark_unchanged();
        assert_eq!(shared.current().kids(WorkQueue::MintRefund).count(), 2);
    }

    #[tokio::test]
    async fn a_key_that_appears_verifies_at_once_and_seals_after_its_youth() {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "pipeline/mint.refund/p1", &"ab".repeat(32));
        put(dir.path(), "stored-answer/s1", &"ab".repeat(32));
        let keys = KeyDirectory::open(dir.path()).unwrap();
        let sealer = messaging::Sealer::new(keys.pipeline());
        put(dir.path(), "pipeline/mint.refund/p2", &"ef".repeat(32));
        put(dir.path(), "stored-answer/s2", &"ef".repeat(32));
        let seen = Instant::now();
        assert!(keys.reload_at(seen).await.unwrap());
        let signing = || {
            let answers = keys.current().stored_answers.current().unwrap().0.clone();
            (sealer.current_kid(WorkQueue::MintRefund).unwrap(), answers)
        };
        assert_eq!(signing(), (kid("p1"), kid("s1")));
        assert_eq!(keys.pipeline().current().kids(WorkQueue::MintRefund).count(), 2);
        let almost = seen + YOUTH - Duration::from_secs(1);
        assert!(!keys.reload_at(almost).await.unwrap());
        assert_eq!(signing(), (kid("p1"), kid("s1")));
        assert!(
            keys.reload_at(seen + YOUTH).await.unwrap(),
            "coming of age is a change"
        );
        assert_eq!(signing(), (kid("p2"), kid("s2")));
        assert!(!keys.reload_at(seen + YOUTH).await.unwrap());
    }

    #[test]
    fn a_missing_directory_is_an_error() {
        let error = KeyDirectory::open(Path::new("/no/such/keys")).unwrap_err();
        assert!(error.to_string().contains("/no/such/keys"));
    }
}
