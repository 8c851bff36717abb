//! The executor against a real database and a real node. Most tests drive its steps one by one, so that a crash or a
//! lost answer happens exactly where it is meant to; `process` runs the whole of it with a real broker.

mod endpoints;
mod faulty;
mod fees;
mod finality;
mod forgery;
mod happy_path;
mod keys;
mod nonces;
mod outcomes;
mod poison;
mod process;
mod recovery;
mod rig;
mod rotation;
mod signing;
mod simulation;
mod world;
