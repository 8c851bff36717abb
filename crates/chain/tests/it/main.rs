//! The chain crate against a real node with the real contracts.

#[cfg(test)]
mod batches;
#[cfg(test)]
mod reads;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod sends;
