//! The idempotency keys that this process is working on: another request with the same key waits for the answer instead
//! of for a database lock.

use std::collections::HashMap;
use std::sync::Arc;

use domain::idempotency::{Fingerprint, IdempotencyKey};
use domain::ids::IntegratorId;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::submission::IntakeResult;

/// The scope of an idempotency key: integrator and key.
pub type KeyScope = (IntegratorId, IdempotencyKey);

/// The result of the request that held the key.
#[derive(Clone, Debug)]
pub struct KeyResult {
    pub fingerprint: Fingerprint,
    pub result: IntakeResult,
}

#[derive(Debug, Default)]
pub struct InFlightKeys(Mutex<HashMap<KeyScope, Vec<oneshot::Sender<KeyResult>>>>);

/// What a request gets for its key.
#[derive(Debug)]
pub enum KeyAccess {
    /// The request holds the key.
    Acquired(KeyGuard),
    /// Another request holds the key. Receives its result; closes if the holder was dropped without one.
    Wait(oneshot::Receiver<KeyResult>),
}

/// The exclusive right to work on a key. It ends with [`KeyGuard::complete`] or when dropped.
#[derive(Debug)]
pub struct KeyGuard {
    all: Arc<InFlightKeys>,
    /// Taken on completion, so that the later drop does not release a key that somebody else holds by then.
    scope: Option<KeyScope>,
}

impl InFlightKeys {
    pub fn acquire(self: &Arc<Self>, scope: KeyScope) -> KeyAccess {
        let mut keys = self.0.lock();
        if let Some(waiting) = keys.get_mut(&scope) {
            let (sender, receiver) = oneshot::channel();
            waiting.push(sender);
            return KeyAccess::Wait(receiver);
        }
        keys.insert(scope.clone(), Vec::new());
        KeyAccess::Acquired(KeyGuard {
            all: self.clone(),
            scope: Some(scope),
        })
    }

    fn release(&self, scope: &KeyScope) -> Vec<oneshot::Sender<KeyResult>> {
        let mut keys = self.0.lock();
        keys.remove(scope).unwrap_or_default()
    }
}

impl KeyGuard {
    /// Releases the key and sends the result to all waiting requests.
    pub fn complete(mut self, fingerprint: Fingerprint, result: &IntakeResult) {
        let waiting = self.scope.take().map(|scope| self.all.release(&scope));
        for waiting in waiting.into_iter().flatten() {
            // Fails if the waiting client has given up.
            let _ = waiting.send(KeyResult {
                fingerprint,
                result: result.clone(),
            });
        }
    }
}

impl Drop for KeyGuard {
    fn drop(&mut self) {
        if let Some(scope) = self.scope.take() {
            drop(self.all.release(&scope));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Problem;

    fn scope() -> KeyScope {
        ("dev".parse().unwrap(), "0123456789abcdef".parse().unwrap())
    }

    #[tokio::test]
    async fn waiting_requests_get_the_result_and_the_key_is_free_again() {
        let all = Arc::new(InFlightKeys::default());
        let KeyAccess::Acquired(guard) = all.acquire(scope()) else {
            panic!("taken")
        };
        let KeyAccess::Wait(waiting) = all.acquire(scope()) else {
            panic!("free")
        };
        guard.complete(
            Fingerprint::from_bytes([1; 32]),
            &IntakeResult::Refused(Problem::unavailable()),
        );
        assert_eq!(
            waiting.await.unwrap().fingerprint,
            Fingerprint::from_bytes([1; 32])
        );
        assert!(matches!(all.acquire(scope()), KeyAccess::Acquired(_)));
    }

    #[tokio::test]
    async fn a_dropped_guard_frees_the_key_without_a_result() {
        let all = Arc::new(InFlightKeys::default());
        let KeyAccess::Acquired(guard) = all.acquire(scope()) else {
            panic!("taken")
        };
        let KeyAccess::Wait(waiting) = all.acquire(scope()) else {
            panic!("free")
        };
        drop(guard);
        assert!(waiting.await.is_err());
        assert!(matches!(all.acquire(scope()), KeyAccess::Acquired(_)));
    }
}
