//! How many intents of an integrator await payment: an upper bound in memory, counted anew every half minute, and every
//! second where it nears the limit: other gateways accept too. A count never runs inside an intake transaction: it may
//! take longer than a group may.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use domain::ids::IntegratorId;
use runtime::Stop;
use storage::gateway::intents::count_unpaid;
use storage::{Pool, StorageError};
use tokio::time::Instant;

const ROUND: Duration = Duration::from_secs(1);
/// How long a count far from the limit is believed.
const BELIEVED: Duration = Duration::from_secs(30);

#[derive(Debug)]
pub struct Unpaid {
    max: u64,
    window_seconds: f64,
    bounds: Mutex<HashMap<IntegratorId, Bound>>,
}

/// What was accepted here since the last count is part of `count`; other gateways' intents enter with the next one.
#[derive(Clone, Copy, Debug, Default)]
struct Bound {
    count: u64,
    /// When the database was last asked.
    counted: Option<Instant>,
}

impl Unpaid {
    pub fn new(max: u64, window_seconds: u32) -> Self {
        Self {
            max,
            window_seconds: window_seconds.into(),
            bounds: Mutex::default(),
        }
    }

    /// Takes up to `wanted` places; what is not kept in the end is given back by [`Places`].
    fn take(&self, integrator: &IntegratorId, wanted: u64) -> u64 {
        let mut bounds = self.bounds();
        let bound = bounds.entry(integrator.clone()).or_default();
        let granted = self.max.saturating_sub(bound.count).min(wanted);
        bound.count += granted;
        granted
    }

    fn give_back(&self, integrator: &IntegratorId, count: u64) {
        if let Some(bound) = self.bounds().get_mut(integrator) {
            bound.count = bound.count.saturating_sub(count);
        }
    }

    /// Counts where it matters, until the stop.
    pub async fn watch(&self, pool: Pool, stop: Stop) {
        while stop.sleep(ROUND).await {
            for (integrator, bound) in self.due(Instant::now()) {
                if let Err(error) = self.recount(&pool, &integrator, bound.count).await {
                    tracing::warn!(%integrator, error = %runtime::chain(&error), "unpaid intents not counted");
                }
            }
        }
    }

    /// Never counted, long ago, or beyond four fifths of the limit.
    fn due(&self, now: Instant) -> Vec<(IntegratorId, Bound)> {
        let near = self.max - self.max / 5;
        let is_old = |at: Instant| now.duration_since(at) >= BELIEVED;
        let is_due = |bound: &Bound| bound.count >= near || bound.counted.is_none_or(is_old);
        let bounds = self.bounds();
        bounds
            .iter()
            .filter(|(_, b)| is_due(b))
            .map(|(i, b)| (i.clone(), *b))
            .collect()
    }

    async fn recount(&self, pool: &Pool, integrator: &IntegratorId, before: u64) -> Result<(), StorageError> {
        let limit = i64::try_from(self.max).unwrap_or(i64::MAX);
        let found = count_unpaid(&pool.get().await?, integrator, self.window_seconds, limit).await?;
        if let Some(bound) = self.bounds().get_mut(integrator) {
            // What was accepted meanwhile may be counted twice: the bound stays an upper one.
            let meanwhile = bound.count.saturating_sub(before);
            *bound = Bound {
                count: found.saturating_add(meanwhile),
                counted: Some(Instant::now()),
            };
        }
        Ok(())
    }

    fn bounds(&self) -> MutexGuard<'_, HashMap<IntegratorId, Bound>> {
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Places taken for a group. Those of intents that are not committed are given back when this is dropped.
#[derive(Debug)]
pub struct Places<'a> {
    unpaid: &'a Unpaid,
    held: HashMap<IntegratorId, u64>,
}

impl<'a> Places<'a> {
    pub fn of(unpaid: &'a Unpaid) -> Self {
        Self {
            unpaid,
            held: HashMap::new(),
        }
    }

    /// How many of `wanted` may go on.
    pub fn take(&mut self, integrator: &IntegratorId, wanted: u64) -> u64 {
        let granted = self.unpaid.take(integrator, wanted);
        *self.held.entry(integrator.clone()).or_default() += granted;
        granted
    }

    /// So many were committed.
    pub fn keep(&mut self, integrator: &IntegratorId, count: u64) {
        if let Some(held) = self.held.get_mut(integrator) {
            *held = held.saturating_sub(count);
        }
    }
}

impl Drop for Places<'_> {
    fn drop(&mut self) {
        for (integrator, count) in &self.held {
            self.unpaid.give_back(integrator, *count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_committed_keeps_its_place() {
        let unpaid = Unpaid::new(10, 3600);
        let dev: IntegratorId = "dev".parse().unwrap();
        let mut places = Places::of(&unpaid);
        assert_eq!(places.take(&dev, 8), 8);
        assert_eq!(
            Places::of(&unpaid).take(&dev, 5),
            2,
            "another group sees what is taken"
        );
        places.keep(&dev, 7);
        drop(places);
        assert_eq!(unpaid.take(&dev, 100), 3);
    }

    #[test]
    fn it_is_counted_at_first_now_and_then_and_near_the_limit() {
        let unpaid = Unpaid::new(10, 3600);
        let (dev, now): (IntegratorId, _) = ("dev".parse().unwrap(), Instant::now());
        unpaid.take(&dev, 7);
        assert_eq!(unpaid.due(now).len(), 1, "never counted");
        unpaid.bounds().get_mut(&dev).unwrap().counted = Some(now);
        assert!(unpaid.due(now).is_empty());
        assert_eq!(unpaid.due(now + BELIEVED).len(), 1, "others accept too");
        unpaid.take(&dev, 1);
        assert_eq!(unpaid.due(now).len(), 1);
    }
}
