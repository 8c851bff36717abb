//! The state that all request handlers share.

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

use crate::auth::SignatureVerifier;
use crate::error::{Code, Problem};
use crate::heartbeat::HeartbeatWatch;
use crate::intake::intents::IntentIntake;
use crate::intake::reports::ReportIntake;
use crate::keys::{KeySnapshot, LiveKeys};
use crate::settings::Bounds;
use crate::upkeep::Depths;

/// The state shared by all HTTP workers.
pub struct Gateway {
    pub policy: Policy,
    pub escrow: Address,
    pub treasury: Address,
    pub bounds: Bounds,
    pub clock: Arc<dyn Clock>,
    pub ids: Arc<dyn IdSource>,
    pub verifier: SignatureVerifier,
    pub keys: Arc<LiveKeys>,
    pub sealer: Sealer,
    pub pool: Pool,
    pub intents: Arc<IntentIntake>,
    pub reports: Arc<ReportIntake>,
    pub limiter: Limiter,
    pub health: Health,
    pub stop: Stop,
    pub executor: HeartbeatWatch,
    /// The queue depths at the broker, if known.
    pub depths: watch::Receiver<Option<Depths>>,
}

impl Gateway {
    /// The keys, once the `api_keys` rows were read: before that, a revoked key might be accepted.
    pub fn keys(&self) -> Result<Arc<KeySnapshot>, Problem> {
        let snapshot = self.keys.snapshot();
        if snapshot.is_complete() {
            Ok(snapshot)
        } else {
            Err(Problem::unavailable())
        }
    }
}

/// The rate limit of each integrator key. Callbacks are not limited.
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
