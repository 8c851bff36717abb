//! Compares what we wrote down with what others say: our books with the chain, M-Pesa's statement with our payments, and
//! what a parked message asks for with what is done already. Facts come in, differences and decisions go out; the caller
//! gathers the facts of the chain and of the broker.

pub mod auto_replay;
pub mod books;
pub mod dead_letters;
pub mod escrow_history;
pub mod intents;
pub mod restore;
pub mod statement;
