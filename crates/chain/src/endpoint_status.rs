//! How an RPC endpoint stands beside the others.

/// An endpoint compared with the others; a lesser value is asked first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointStatus {
    #[default]
    InSync,
    /// Its head is far below the best one, or it did not answer.
    Behind,
    /// It follows another chain, or has another block where ours is final by depth.
    OtherChain,
}
