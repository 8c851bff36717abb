//! Why a unit of work ended early.

use storage::StorageError;

#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Chain(#[from] chain::ChainError),
    #[error(transparent)]
    Signer(#[from] chain::SignerError),
    #[error("the lease is not ours")]
    NoLease,
    #[error("an outcome cannot be sealed: {0}")]
    Seal(#[from] messaging::SealError),
    #[error(transparent)]
    Transition(#[from] domain::intent::IllegalTransition),
    #[error("{0}")]
    FeeAboveCap(#[from] chain::fees::FeeAboveCap),
    /// The fork lies below the blocks that we keep: a person must act.
    #[error("a reorganisation goes deeper than block {0}, the oldest that we keep")]
    ReorgTooDeep(u64),
    /// A row names the zero address: somebody edited it.
    #[error("an attempt is signed by nobody")]
    NoSigner,
    #[error("the head is unknown yet")]
    NoHead,
}

impl WorkError {
    /// An endpoint gave no answer, or not a good one: asked again later, it may.
    pub const fn is_of_an_endpoint(&self) -> bool {
        matches!(self, Self::Chain(_))
    }

    /// The work waits until the market's fee is below the cap.
    pub const fn fee_above_cap(&self) -> Option<&chain::fees::FeeAboveCap> {
        match self {
            Self::FeeAboveCap(above) => Some(above),
            _ => None,
        }
    }
}
