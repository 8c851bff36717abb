//! The operator's command line.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let environment = ops::Environment::of_process();
    // The container of a running `dlq auto` uses this as its health check.
    runtime::probe::exit_if_readiness_check(&environment);
    ops::main(std::env::args_os(), environment).await
}
