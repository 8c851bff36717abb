//! The request to end the process, in two steps: drain, then stop softly.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Lets time pass in a command that nobody stops but by a signal. A service waits by [`Stop::sleep`].
pub async fn pause(wait: Duration) {
    Stop::new().sleep(wait).await;
}

/// The request to end the process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    draining: CancellationToken,
    soft: CancellationToken,
}

impl Stop {
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts draining: the process becomes unready, everything else continues.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Starts the soft stop: all tasks finish what they have started.
    pub fn soft(&self) {
        self.draining.cancel();
        self.soft.cancel();
    }

    pub fn is_requested(&self) -> bool {
        self.soft.is_cancelled()
    }

    pub async fn requested(&self) {
        self.soft.cancelled().await;
    }

    /// A token that is cancelled by the soft stop.
    pub fn token(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Sleeps. Returns false if the soft stop was requested meanwhile.
    pub async fn sleep(&self, wait: Duration) -> bool {
        tokio::time::timeout(wait, self.soft.cancelled()).await.is_err()
    }
}
