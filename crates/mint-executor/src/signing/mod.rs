//! Signs for one key. A batch is signed outside any database transaction, stored in one, and broadcast: the commit binds
//! nonce, signed bytes, members and fencing token, and only then are the bytes broadcast. After a lost answer `following`
//! broadcasts the same bytes again.

pub mod batch;
pub mod build;
pub mod call;
pub mod cancel;
pub mod draft;
pub mod lease;
pub mod nonces;
pub mod plan;
pub mod refused;
pub mod replace;
pub mod simulate;
pub mod stranded;
pub mod submitter;

pub use batch::BatchSigner;
pub use build::{BatchBuilder, BatchResult};
pub use cancel::Canceller;
pub use lease::SignerLeaseHolder;
pub use nonces::NonceManager;
pub use plan::Planner;
pub use replace::Replacer;
pub use simulate::Simulator;
pub use stranded::StrandedIntents;
pub use submitter::{CommandQueue, Submitter};
