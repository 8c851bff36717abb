//! What all our processes share, independent of the business: settings, telemetry, metrics, keys, lifecycle, the admin
//! port, the outbox relay, breakers and halts.
//!
//! A service is its settings and a `build` that spawns its tasks on a [`process::Process`]; [`start::run`] does the rest.

pub mod admin;
pub mod breaker;
pub mod database_login;
pub mod gate;
pub mod halts;
pub mod health;
pub mod key_uses;
pub mod keys;
pub mod lifecycle;
pub mod metrics;
pub mod observe;
pub mod periodic;
pub mod probe;
pub mod process;
pub mod ready;
pub mod relay;
pub mod settings;
pub mod start;
pub mod stop;
pub mod telemetry;

pub use health::Health;
pub use keys::{KeyDirectory, MountedKeys};
pub use lifecycle::Tasks;
pub use periodic::Periodic;
pub use process::{Process, StartError};
pub use relay::Relay;
pub use settings::{Environment, ServiceSettings, SettingError, Settings};
pub use stop::Stop;

/// The allocator of all our processes. It returns memory to the system after a burst, while the C library's allocator
/// keeps it in one arena per thread and grows as long as traffic lasts (ADR 0015).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;
