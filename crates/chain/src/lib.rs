//! Every EVM detail, and the only crate that knows ethers.
//!
//! Our own JSON-RPC transport (fail-over, limits, metrics) implements ethers' `JsonRpcClient`; every public type is ours
//! or `domain`'s. [`send`] and [`classify`] decide what a node's answer to a send means: an answer we do not know is
//! *unknown*, never *failed*.

mod bindings;
pub mod calls;
pub mod classify;
mod client;
pub mod compare;
pub mod compliance;
mod convert;
mod endpoint_status;
mod error;
pub mod events;
pub mod fees;
mod hash;
pub mod history;
pub mod inspect;
pub mod observe;
pub mod query;
pub mod roles;
pub mod send;
pub mod signer;
pub mod simulate;
pub mod transaction;
mod transport;

pub use client::{BlockRef, ChainClient, RpcConfig};
pub use endpoint_status::EndpointStatus;
pub use error::ChainError;
pub use events::{EscrowEvent, EscrowLog};
pub use hash::{BlockHash, TxHash};
pub use send::SendOutcome;
pub use signer::{LocalKey, Signer, SignerError};
