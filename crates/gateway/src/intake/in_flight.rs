//! Idempotency keys that this process is working on right now: whoever brings the same key waits for the answer
//! instead of a lock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use domain::idempotency::{Fingerprint, IdempotencyKey};
use domain::ids::IntegratorId;
use tokio::sync::oneshot;

use super::intents::Outcome;

/// Owner and key.
pub type Slot = (IntegratorId, IdempotencyKey);

/// What became of the request that held the key.
#[derive(Clone, Debug)]
pub struct Landed {
    pub fingerprint: Fingerprint,
    pub outcome: Outcome,
}

#[derive(Debug, Default)]
pub struct InFlight(Mutex<HashMap<Slot, Vec<oneshot::Sender<Landed>>>>);

/// How a request finds its key.
#[derive(Debug)]
pub enum Entrance {
    Mine(Flight),
    /// Told when the holder lands; closed when it vanished without an answer.
    Wait(oneshot::Receiver<Landed>),
}

/// The right to work on a key; ends with [`Flight::land`] or when dropped.
#[derive(Debug)]
pub struct Flight {
    all: Arc<InFlight>,
    /// Taken by the landing, so that the drop behind it frees nobody else's key.
    slot: Option<Slot>,
}

impl InFlight {
    pub fn enter(self: &Arc<Self>, slot: Slot) -> Entrance {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = flights.get_mut(&slot) {
            let (sender, receiver) = oneshot::channel();
            waiting.push(sender);
            return Entrance::Wait(receiver);
        }
        flights.insert(slot.clone(), Vec::new());
        Entrance::Mine(Flight {
            all: self.clone(),
            slot: Some(slot),
        })
    }

    fn leave(&self, slot: &Slot) -> Vec<oneshot::Sender<Landed>> {
        let mut flights = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        flights.remove(slot).unwrap_or_default()
    }
}

impl Flight {
    /// Frees the key and tells everyone who waited.
    pub fn land(mut self, fingerprint: Fingerprint, outcome: &Outcome) {
        let waiting = self.slot.take().map(|slot| self.all.leave(&slot));
        for waiting in waiting.into_iter().flatten() {
            // A client that gave up is not there any more.
            let _ = waiting.send(Landed {
                fingerprint,
                outcome: outcome.clone(),
            });
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take() {
            drop(self.all.leave(&slot));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Problem;

    fn slot() -> Slot {
        ("dev".parse().unwrap(), "0123456789abcdef".parse().unwrap())
    }

    #[tokio::test]
    async fn whoever_waits_is_told_and_the_key_is_free_again() {
        let all = Arc::new(InFlight::default());
        let Entrance::Mine(flight) = all.enter(slot()) else {
            panic!("taken")
        };
        let Entrance::Wait(waiting) = all.enter(slot()) else {
            panic!("free")
        };
        flight.land(
            Fingerprint::from_bytes([1; 32]),
            &Outcome::Refused(Problem::unavailable()),
        );
        assert_eq!(
            waiting.await.unwrap().fingerprint,
            Fingerprint::from_bytes([1; 32])
        );
        assert!(matches!(all.enter(slot()), Entrance::Mine(_)));
    }

    #[tokio::test]
    async fn a_lost_flight_frees_the_key_without_an_answer() {
        let all = Arc::new(InFlight::default());
        let Entrance::Mine(flight) = all.enter(slot()) else {
            panic!("taken")
        };
        let Entrance::Wait(waiting) = all.enter(slot()) else {
            panic!("free")
        };
        drop(flight);
        assert!(waiting.await.is_err());
        assert!(matches!(all.enter(slot()), Entrance::Mine(_)));
    }
}
