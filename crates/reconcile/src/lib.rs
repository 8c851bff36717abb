//! Compares what we wrote down with what others say: M-Pesa's statement with our payments, and what a parked message
//! asks for with what is done already. Facts come in, differences and decisions go out; the caller gathers the facts of
//! the chain and of the broker.

pub mod auto_replay;
pub mod dead_letters;
pub mod statement;
