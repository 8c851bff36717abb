//! How a command ended that did not fail.

/// The result of a command that was completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Exit code 0.
    Success,
    /// Exit code 1: the command was completed with a negative result (a difference, nothing found, some entries failed).
    Negative,
}
