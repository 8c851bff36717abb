//! What a person chooses for a run.

use std::time::Duration;

#[derive(Debug, Clone, Copy)]
pub struct Params {
    pub seed: u64,
    pub intents: Option<usize>,
    pub kills: Option<usize>,
    /// How long the RPC endpoint fails.
    pub outage: Duration,
    pub at_once: usize,
}
