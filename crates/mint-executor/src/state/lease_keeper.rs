//! Keeps a lease: asks for it again and again, and lets go of it when nothing is certain any more.

use std::time::Duration;

use runtime::Stop;
use tokio::time::Instant;

use super::gates::Gates;
use crate::error::WorkError;

#[derive(Clone, Debug)]
pub struct LeaseKeeper {
    pub gates: Gates,
    /// How long a lease lasts without a renewal.
    pub lease: Duration,
}

impl LeaseKeeper {
    /// Calls `keep` until the stop. Calls `lose` when the executor may not work, or when no renewal succeeded for as long
    /// as a lease lasts.
    pub async fn run<F>(&self, stop: &Stop, keep: impl Fn() -> F, lose: impl Fn())
    where
        F: Future<Output = Result<(), WorkError>>,
    {
        let mut sure = Instant::now();
        loop {
            let kept = if self.gates.is_stopped() {
                lose();
                Ok(())
            } else {
                keep().await
            };
            let wait = match kept {
                Ok(()) => {
                    sure = Instant::now();
                    self.lease / 4
                }
                Err(error) => {
                    tracing::warn!(error = %domain::error_chain(&error), "a lease cannot be kept");
                    // An unrenewed lease may belong to another executor by now; until then every write checks it.
                    if sure.elapsed() > self.lease {
                        lose();
                    }
                    self.lease / 8
                }
            };
            if !stop.sleep(wait).await {
                return;
            }
        }
    }
}
