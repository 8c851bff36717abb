//! What the sealed envelope of a work item says.

pub mod timing;
pub mod verify;

pub use verify::{CommandDetails, Ineligible, VerifiedCommand, Verifier};
