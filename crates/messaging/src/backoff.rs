//! How long to wait after a failure at the broker, and a wait that ends at shutdown.

use std::time::Duration;

use domain::backoff::Backoff;
use tokio_util::sync::CancellationToken;

/// Between failures to reach the broker, or to work through a connection.
pub(crate) const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(100),
    longest: Duration::from_secs(5),
};

pub(crate) async fn sleep_or_shutdown(wait: Duration, shutdown: &CancellationToken) {
    // Either end of the wait is good.
    let _ = tokio::time::timeout(wait, shutdown.cancelled()).await;
}
