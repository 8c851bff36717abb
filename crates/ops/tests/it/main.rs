//! The built `fiatrails` binary against real servers.

mod chain;
mod cli;
mod database;
mod dead_letters;
mod dlq_auto;
mod dlq_flood;
mod dlq_rig;
mod payments;
mod reference;
mod rotation;
mod sign;
mod statement;
