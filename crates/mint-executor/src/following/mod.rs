//! Follows the chain: once per block it gathers facts, decides, and applies the result in one transaction.

pub mod apply;
pub mod events;
pub mod facts;
pub mod follow;
pub mod gather;
pub mod head_watcher;
pub mod lease;
pub mod members;
pub mod receipts;
pub mod redrive;
pub mod reorg;
pub mod resend;
pub mod task;

pub use apply::Applier;
pub use follow::Follower;
pub use gather::Gatherer;
pub use head_watcher::HeadWatcher;
pub use lease::{FollowerLeaseHolder, FollowerTenure};
pub use receipts::Receipts;
pub use redrive::OutcomeRedrive;
pub use reorg::Rewinder;
pub use resend::Resender;
pub use task::FollowingTask;
