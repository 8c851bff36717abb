//! Watches the file that contains the database URL, so that a new login is used without a restart (ADR 0012).

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use storage::{Pool, PoolConfig};
use zeroize::Zeroizing;

use crate::lifecycle::Stop;
use crate::observe;

const POLL: Duration = Duration::from_secs(2);

/// Runs until the stop. A URL that does not work is tried again, and the current login stays in use meanwhile.
pub async fn follow(file: PathBuf, mut config: PoolConfig, pool: Pool, stop: Stop) {
    while stop.sleep(POLL).await {
        let Some(url) = read(&file).await else { continue };
        if url.expose_secret() == config.url.expose_secret() {
            continue;
        }
        let next = PoolConfig {
            url,
            ..config.clone()
        };
        match pool.replace(&next).await {
            Ok(()) => {
                observe::DATABASE_LOGINS.increment(["taken_up"]);
                tracing::info!(database = pool.endpoint(), "database login renewed");
                config = next;
            }
            Err(error) => {
                observe::DATABASE_LOGINS.increment(["refused"]);
                tracing::error!(error = %domain::error_chain(&error), "the new database login does not work; the old one stays");
            }
        }
    }
}

/// Returns `None` while the file cannot be read, for example because it is being replaced.
async fn read(file: &PathBuf) -> Option<SecretString> {
    let text = Zeroizing::new(tokio::fs::read_to_string(file).await.ok()?);
    let text = text.trim();
    (!text.is_empty()).then(|| text.into())
}
