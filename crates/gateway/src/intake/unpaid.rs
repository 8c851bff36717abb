//! How many intents of an integrator await payment: an upper bound in memory, counted anew only where it would
//! refuse. Other gateways' intents enter with the next count.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use domain::ids::IntegratorId;
use storage::gateway::intents::count_unpaid;
use storage::{Session, StorageError};
use tokio::time::Instant;

/// A count is not repeated sooner.
const RECOUNT: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Unpaid {
    max: u64,
    window_seconds: f64,
    bounds: Mutex<HashMap<IntegratorId, Bound>>,
}

#[derive(Clone, Copy, Debug)]
struct Bound {
    count: u64,
    counted_at: Instant,
}

impl Unpaid {
    pub fn new(max: u64, window_seconds: u32) -> Self {
        Self { max, window_seconds: window_seconds.into(), bounds: Mutex::default() }
    }

    /// How many of `wanted` further intents may be accepted now.
    pub async fn room(
        &self,
        session: &impl Session,
        integrator: &IntegratorId,
        wanted: u64,
    ) -> Result<u64, StorageError> {
        let known = self.bound(integrator);
        if let Some(bound) = known
            && (bound.count + wanted <= self.max || bound.counted_at.elapsed() < RECOUNT)
        {
            return Ok(self.max.saturating_sub(bound.count));
        }
        let limit = i64::try_from(self.max).unwrap_or(i64::MAX);
        let count = count_unpaid(session, integrator, self.window_seconds, limit).await?;
        let bound = Bound { count, counted_at: Instant::now() };
        self.bounds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(integrator.clone(), bound);
        Ok(self.max.saturating_sub(count))
    }

    /// Remembers what was committed.
    pub fn accepted(&self, integrator: &IntegratorId, count: u64) {
        let mut bounds = self.bounds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bound) = bounds.get_mut(integrator) {
            bound.count = bound.count.saturating_add(count);
        }
    }

    fn bound(&self, integrator: &IntegratorId) -> Option<Bound> {
        self.bounds.lock().unwrap_or_else(PoisonError::into_inner).get(integrator).copied()
    }
}
