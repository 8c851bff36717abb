//! From what the chain says about an item to rows and messages: what is final, what changes, and what callback is told.
//! Signing uses it for what a simulation settles, following for what a block settles.

pub mod effects;
pub mod finality;
pub mod outcomes;

pub use effects::Effects;
pub use finality::FinalBlocks;
pub use outcomes::Outcomes;
