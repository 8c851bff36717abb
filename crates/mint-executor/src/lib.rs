//! Turns commands into exactly one on-chain effect each: the only holder of executor keys, the only sender of
//! transactions (docs/ARCHITECTURE.md).
//!
//! `consume` stores commands, `submit` signs and stores attempts before it broadcasts them, `confirm` follows the chain
//! block by block for all signers and applies the results; the pure `rules` say what follows from them. After a crash
//! the rows are enough to continue.

pub mod app;
pub mod breakers;
pub mod cancel;
pub mod confirm;
pub mod consume;
pub mod context;
pub mod deployment_check;
pub mod endpoints;
pub mod finality;
pub mod heartbeat;
pub mod item_timing;
pub mod lease;
pub mod observe;
pub mod outcome;
pub mod park;
pub mod redrive;
pub mod rules;
pub mod settings;
pub mod signer_handle;
pub mod submit;
pub mod verify;
