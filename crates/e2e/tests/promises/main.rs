//! The promises, over real PostgreSQL, RabbitMQ and anvil, with the services as separate processes.

mod broken;
mod duplicates;
mod forgery;
mod happy_path;
mod hung_holder;
mod key_rotation;
mod kill_nine;
mod live_upgrade;
mod load;
mod on_call;
mod operations;
mod paused_executor;
mod planted;
mod purged_queues;
mod readme;
mod restore;
mod rolling_restart;
mod secrets;
mod signing_keys;

use std::time::Duration;

/// Long enough for a busy machine; a test that needs this long has failed.
const TIMEOUT: Duration = Duration::from_secs(90);
