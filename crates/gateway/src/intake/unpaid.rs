//! The limit of unpaid intents per integrator. An upper bound of the count is kept in memory. Because other gateways accept
//! intents too, it is recounted every half minute, and every second near the limit. The recount never runs inside an
//! intake transaction, because it may take longer than a batch may.

use std::collections::HashMap;
use std::time::Duration;

use domain::ids::IntegratorId;
use parking_lot::{Mutex, MutexGuard};
use storage::gateway::intents::count_unpaid;
use storage::{Pool, StorageError};
use tokio::time::Instant;

/// How long a count far from the limit is used before it is recounted.
const RECOUNT_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct UnpaidLimit {
    max: u64,
    window_seconds: f64,
    counts: Mutex<HashMap<IntegratorId, UnpaidCount>>,
}

/// The unpaid intents of one integrator. `count` includes what was accepted here since the last recount; other gateways'
/// intents are included at the next one.
#[derive(Clone, Copy, Debug, Default)]
struct UnpaidCount {
    count: u64,
    /// When the database was last queried.
    counted: Option<Instant>,
}

impl UnpaidLimit {
    pub fn new(max: u64, window_seconds: u32) -> Self {
        Self {
            max,
            window_seconds: window_seconds.into(),
            counts: Mutex::default(),
        }
    }

    /// Reserves up to `wanted` intents and returns how many. [`UnpaidReservation`] releases what is not committed.
    fn reserve(&self, integrator: &IntegratorId, wanted: u64) -> u64 {
        let mut counts = self.counts();
        let current = counts.entry(integrator.clone()).or_default();
        let granted = self.max.saturating_sub(current.count).min(wanted);
        current.count += granted;
        granted
    }

    fn release(&self, integrator: &IntegratorId, count: u64) {
        if let Some(current) = self.counts().get_mut(integrator) {
            current.count = current.count.saturating_sub(count);
        }
    }

    /// Recounts where necessary; returns the last failure.
    pub async fn recount_due(&self, pool: &Pool) -> Result<(), StorageError> {
        let mut result = Ok(());
        for (integrator, current) in self.due(Instant::now()) {
            if let Err(error) = self.recount(pool, &integrator, current.count).await {
                tracing::warn!(%integrator, error = %domain::error_chain(&error), "unpaid intents not counted");
                result = Err(error);
            }
        }
        result
    }

    /// The counts to be renewed: never counted, counted long ago, or above four fifths of the limit.
    fn due(&self, now: Instant) -> Vec<(IntegratorId, UnpaidCount)> {
        let near = self.max - self.max / 5;
        let is_old = |at: Instant| now.duration_since(at) >= RECOUNT_AFTER;
        let is_due = |current: &UnpaidCount| current.count >= near || current.counted.is_none_or(is_old);
        let counts = self.counts();
        counts
            .iter()
            .filter(|(_, b)| is_due(b))
            .map(|(i, b)| (i.clone(), *b))
            .collect()
    }

    async fn recount(&self, pool: &Pool, integrator: &IntegratorId, before: u64) -> Result<(), StorageError> {
        let limit = i64::try_from(self.max).unwrap_or(i64::MAX);
        let found = count_unpaid(&pool.get().await?, integrator, self.window_seconds, limit).await?;
        if let Some(current) = self.counts().get_mut(integrator) {
            // Intents accepted meanwhile may be counted twice, so that the count stays an upper bound.
            let meanwhile = current.count.saturating_sub(before);
            *current = UnpaidCount {
                count: found.saturating_add(meanwhile),
                counted: Some(Instant::now()),
            };
        }
        Ok(())
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IntegratorId, UnpaidCount>> {
        self.counts.lock()
    }
}

/// The reservations of one batch. When it is dropped, it releases those whose intents were not committed.
#[derive(Debug)]
pub struct UnpaidReservation<'a> {
    unpaid: &'a UnpaidLimit,
    reserved: HashMap<IntegratorId, u64>,
}

impl<'a> UnpaidReservation<'a> {
    pub fn of(unpaid: &'a UnpaidLimit) -> Self {
        Self {
            unpaid,
            reserved: HashMap::new(),
        }
    }

    /// Reserves up to `wanted` intents and returns how many.
    pub fn reserve(&mut self, integrator: &IntegratorId, wanted: u64) -> u64 {
        let granted = self.unpaid.reserve(integrator, wanted);
        *self.reserved.entry(integrator.clone()).or_default() += granted;
        granted
    }

    /// Records that `count` intents were committed.
    pub fn commit(&mut self, integrator: &IntegratorId, count: u64) {
        if let Some(held) = self.reserved.get_mut(integrator) {
            *held = held.saturating_sub(count);
        }
    }
}

impl Drop for UnpaidReservation<'_> {
    fn drop(&mut self) {
        for (integrator, count) in &self.reserved {
            self.unpaid.release(integrator, *count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_committed_intents_keep_their_reservation() {
        let unpaid = UnpaidLimit::new(10, 3600);
        let dev: IntegratorId = "dev".parse().unwrap();
        let mut reservation = UnpaidReservation::of(&unpaid);
        assert_eq!(reservation.reserve(&dev, 8), 8);
        assert_eq!(
            UnpaidReservation::of(&unpaid).reserve(&dev, 5),
            2,
            "another batch sees what is taken"
        );
        reservation.commit(&dev, 7);
        drop(reservation);
        assert_eq!(unpaid.reserve(&dev, 100), 3);
    }

    #[test]
    fn it_is_counted_at_first_periodically_and_near_the_limit() {
        let unpaid = UnpaidLimit::new(10, 3600);
        let (dev, now): (IntegratorId, _) = ("dev".parse().unwrap(), Instant::now());
        unpaid.reserve(&dev, 7);
        assert_eq!(unpaid.due(now).len(), 1, "never counted");
        unpaid.counts().get_mut(&dev).unwrap().counted = Some(now);
        assert!(unpaid.due(now).is_empty());
        assert_eq!(unpaid.due(now + RECOUNT_AFTER).len(), 1, "others accept too");
        unpaid.reserve(&dev, 1);
        assert_eq!(unpaid.due(now).len(), 1);
    }
}
