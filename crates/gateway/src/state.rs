//! What every request handler shares.

use std::sync::Arc;

use domain::address::Address;
use domain::clock::{Clock, IdSource};
use domain::policy::Policy;
use domain::signature::KeyId;
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use messaging::Sealer;
use runtime::{Health, Stop};
use storage::Pool;
use tokio::sync::watch;

use crate::auth::Judge;
use crate::error::{Code, Problem};
use crate::heartbeat::LastBeat;
use crate::intake::intents::IntentIntake;
use crate::intake::reports::ReportIntake;
use crate::keys::{Keys, Snapshot};
use crate::settings::Bounds;
use crate::upkeep::Depths;

/// Shared by all HTTP workers.
pub struct Gateway {
    pub policy: Policy,
    pub escrow: Address,
    pub treasury: Address,
    pub bounds: Bounds,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    pub judge: Judge,
    pub keys: Arc<Keys>,
    pub sealer: Sealer,
    pub pool: Pool,
    pub intents: Arc<IntentIntake>,
    pub reports: Arc<ReportIntake>,
    pub limiter: Limiter,
    pub health: Health,
    pub stop: Stop,
    pub executor: LastBeat,
    /// How much waits at the broker, if known.
    pub depths: watch::Receiver<Option<Depths>>,
}

impl Gateway {
    /// The keys, once the operators' rows were read: before that a revoked key might pass.
    pub fn keys(&self) -> Result<Arc<Snapshot>, Problem> {
        let snapshot = self.keys.snapshot();
        if snapshot.is_complete() {
            Ok(snapshot)
        } else {
            Err(Problem::unavailable())
        }
    }
}

/// So many requests a second for each integrator key. Callbacks are never limited.
pub struct Limiter(DefaultKeyedRateLimiter<KeyId>);

impl Limiter {
    pub fn new(bounds: &Bounds) -> Self {
        Self(RateLimiter::keyed(
            Quota::per_second(bounds.rate_per_second).allow_burst(bounds.rate_burst),
        ))
    }

    pub fn pass(&self, key: &KeyId) -> Result<(), Problem> {
        let refusal = || Problem::new(Code::RateLimited, "Slow down: this key has a rate limit.");
        self.0.check_key(key).map_err(|_| refusal())
    }
}
