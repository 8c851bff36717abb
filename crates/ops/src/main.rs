//! The operator's command line.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    ops::main(std::env::args_os(), ops::Environment::of_process()).await
}
