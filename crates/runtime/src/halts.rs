//! The operators' halts, each scope as a gate. Until the first successful read everything counts as
//! halted. A later failure to read changes nothing, because without the database no work runs anyway.

use storage::halts::{self, HaltScope};
use storage::{Pool, StorageError};
use tokio::sync::watch;

use crate::observe;

/// The halts as this process last read them.
#[derive(Debug)]
pub struct Halts {
    gates: [(HaltScope, watch::Sender<bool>); 4],
}

impl Default for Halts {
    fn default() -> Self {
        Self {
            gates: HaltScope::ALL.map(|scope| (scope, watch::Sender::new(false))),
        }
    }
}

impl Halts {
    /// True while this kind of work may run.
    pub fn gate(&self, scope: HaltScope) -> watch::Receiver<bool> {
        let found = self.gates.iter().find(|(other, _)| *other == scope);
        found.map_or_else(
            || watch::Sender::new(false).subscribe(),
            |(_, gate)| gate.subscribe(),
        )
    }

    /// Reads the halts once.
    pub async fn refresh(&self, pool: &Pool) -> Result<(), StorageError> {
        let halted = halts::read(&pool.get().await?).await?;
        for (scope, gate) in &self.gates {
            let halt = halted.iter().find(|halt| halt.scope == *scope && halt.halted);
            observe::HALTED.set([scope.name()], if halt.is_some() { 1.0 } else { 0.0 });
            let changed =
                gate.send_if_modified(|open| std::mem::replace(open, halt.is_none()) != halt.is_none());
            if let (true, Some(halt)) = (changed, halt) {
                tracing::warn!(%scope, reason = halt.reason, by = halt.changed_by, "halted");
            } else if changed {
                tracing::info!(%scope, "not halted");
            }
        }
        Ok(())
    }
}
