//! What this process knows of the chain, of its signing keys and of what blocks work. Each part is shared by its clones
//! and changes only through its own methods.

pub mod chain_view;
pub mod gates;
pub mod lease_keeper;
pub mod signers;

pub use chain_view::{ChainView, NodeAnswer};
pub use gates::{ExecutorProblem, Gates, Refusal};
pub use lease_keeper::LeaseKeeper;
pub use signers::{FeeCapWait, SignerHandle, SignerHandles};
