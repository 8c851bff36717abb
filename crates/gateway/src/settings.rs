//! The gateway's own settings beside those of every service.

use std::num::NonZeroU32;
use std::time::Duration;

use runtime::settings::{ApiSettings, ContractSettings, Environment, SettingError};

/// Everything the gateway is started with.
#[derive(Clone, Debug)]
pub struct GatewaySettings {
    pub shared: runtime::Settings,
    pub api: ApiSettings,
    /// `escrow` goes into every intent id; the treasury is the depositor of every intent of ours.
    pub contracts: ContractSettings,
    pub bounds: Bounds,
}

/// Bounds of what one client can take.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// `HTTP_HEADER_TIMEOUT_MS`.
    pub header_timeout: Duration,
    /// `HTTP_BODY_TIMEOUT_MS`.
    pub body_timeout: Duration,
    /// `RATE_LIMIT_PER_SECOND`, for each key id.
    pub rate_per_second: NonZeroU32,
    /// `RATE_LIMIT_BURST`.
    pub rate_burst: NonZeroU32,
    /// `HTTP_WORKERS`.
    pub http_workers: usize,
    /// `INTAKE_WORKERS`: transactions of one door that may run at once.
    pub intake_workers: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            header_timeout: Duration::from_secs(5),
            body_timeout: Duration::from_secs(5),
            rate_per_second: NonZeroU32::MIN.saturating_add(19_999),
            rate_burst: NonZeroU32::MIN.saturating_add(39_999),
            http_workers: 2,
            intake_workers: 2,
        }
    }
}

impl GatewaySettings {
    pub fn read(environment: &Environment) -> Result<Self, SettingError> {
        Ok(Self {
            shared: runtime::Settings::read(environment)?,
            api: environment.api()?,
            contracts: environment.contracts()?,
            bounds: Bounds::read(environment)?,
        })
    }
}

impl Bounds {
    fn read(environment: &Environment) -> Result<Self, SettingError> {
        let default = Self::default();
        let millis = |name, or: Duration| {
            let found = environment.parsed::<NonZeroU32>(name)?;
            Ok::<_, SettingError>(found.map_or(or, |ms| Duration::from_millis(ms.get().into())))
        };
        let count = |name, or: usize| {
            let found = environment.parsed::<std::num::NonZeroU8>(name)?;
            Ok::<_, SettingError>(found.map_or(or, |n| n.get().into()))
        };
        Ok(Self {
            header_timeout: millis("HTTP_HEADER_TIMEOUT_MS", default.header_timeout)?,
            body_timeout: millis("HTTP_BODY_TIMEOUT_MS", default.body_timeout)?,
            rate_per_second: environment.parsed_or("RATE_LIMIT_PER_SECOND", default.rate_per_second)?,
            rate_burst: environment.parsed_or("RATE_LIMIT_BURST", default.rate_burst)?,
            http_workers: count("HTTP_WORKERS", default.http_workers)?,
            intake_workers: count("INTAKE_WORKERS", default.intake_workers)?,
        })
    }
}
