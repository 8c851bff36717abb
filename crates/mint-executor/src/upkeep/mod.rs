//! Looks after the process besides its work: checks the deployment, compares endpoints, closes and opens gates, and says
//! how it is.

pub mod deployment;
pub mod endpoints;
pub mod heartbeat;
pub mod probes;

pub use deployment::DeploymentCheck;
pub use endpoints::EndpointComparison;
pub use heartbeat::Heartbeat;
pub use probes::Probes;
