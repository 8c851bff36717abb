//! Follows the file that holds the database's URL: a new login is taken up without a restart (ADR 0012).

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use storage::{Pool, PoolConfig};
use zeroize::Zeroizing;

use crate::lifecycle::Stop;
use crate::observe;

const POLL: Duration = Duration::from_secs(2);

/// Until the stop. A URL that does not work is tried again and changes nothing meanwhile.
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
                observe::DATABASE_LOGINS.one(["taken_up"]);
                tracing::info!(database = pool.endpoint(), "database login renewed");
                config = next;
            }
            Err(error) => {
                observe::DATABASE_LOGINS.one(["refused"]);
                tracing::error!(error = %crate::chain(&error), "the new database login does not work; the old one stays");
            }
        }
    }
}

/// `None` while it cannot be read: it is being replaced.
async fn read(file: &PathBuf) -> Option<SecretString> {
    let text = Zeroizing::new(tokio::fs::read_to_string(file).await.ok()?);
    let text = text.trim();
    (!text.is_empty()).then(|| text.into())
}
