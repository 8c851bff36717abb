//! The addresses on which the process listens, for whoever started it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

/// The bound addresses by role. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct ListenAddresses(Arc<Mutex<BTreeMap<&'static str, SocketAddr>>>);

impl ListenAddresses {
    /// `role`: `api` or `admin`.
    pub fn record(&self, role: &'static str, addr: SocketAddr) {
        self.0.lock().insert(role, addr);
        tracing::info!(role, %addr, "listening");
    }

    pub fn addr(&self, role: &str) -> Option<SocketAddr> {
        self.0.lock().get(role).copied()
    }

    /// Writes a temporary file and renames it, so that a reader never sees a partial file.
    pub fn write(&self, file: &Path) -> std::io::Result<()> {
        let addresses = self.0.lock().clone();
        let temporary = file.with_extension("part");
        let mut part = std::fs::File::create(&temporary)?;
        serde_json::to_writer(&mut part, &addresses)?;
        part.flush()?;
        std::fs::rename(temporary, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_names_every_role() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ready.json");
        let listening = ListenAddresses::default();
        listening.record("admin", "127.0.0.1:1".parse().unwrap());
        listening.record("api", "127.0.0.1:2".parse().unwrap());
        listening.write(&file).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        assert_eq!(text, r#"{"admin":"127.0.0.1:1","api":"127.0.0.1:2"}"#);
    }
}
