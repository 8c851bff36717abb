//! Tables that the executor writes: chain legs, work items, attempts, signers, blocks and what the escrow said.

pub mod attempts;
pub mod blocks;
pub mod follower;
pub mod heartbeat;
pub mod items;
pub mod legs;
pub mod redrive;
pub mod signers;

/// Every statement of this room, for the test that prepares them all.
pub(crate) const STATEMENTS: &[&[(&str, &str)]] = &[
    attempts::STATEMENTS,
    blocks::STATEMENTS,
    follower::STATEMENTS,
    heartbeat::STATEMENTS,
    items::STATEMENTS,
    legs::STATEMENTS,
    redrive::STATEMENTS,
    signers::STATEMENTS,
];
