//! The pages under `docs/` that say what this crate's tables and formulas are. A part between `generated` and `end` is
//! compared with the code, and written anew when `UPDATE_DOCS=1`.
#![expect(clippy::unwrap_used, reason = "a test may panic, its helpers too")]

mod money;
mod page;
mod policy;
mod signing;
mod states;
