//! Tables that the executor writes: chain legs, work items, attempts, signers, blocks and events of the escrow.

pub mod attempts;
pub mod blocks;
pub mod follower;
pub mod heartbeat;
pub mod items;
pub mod legs;
pub mod redrive;
mod sharing;
pub mod signers;

/// Every statement of this module, for the test that prepares them all.
pub(crate) const STATEMENTS: &[&[(&str, &str)]] = &[
    attempts::STATEMENTS,
    attempts::outcomes::STATEMENTS,
    blocks::STATEMENTS,
    follower::STATEMENTS,
    heartbeat::STATEMENTS,
    items::STATEMENTS,
    legs::STATEMENTS,
    redrive::STATEMENTS,
    signers::STATEMENTS,
];
