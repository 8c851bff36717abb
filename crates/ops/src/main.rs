//! The operator's command line.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    let environment = ops::Environment::of_process();
    // Of a running `dlq auto`, for its container's health check.
    runtime::probe::answer_if_asked(&environment);
    ops::main(std::env::args_os(), environment).await
}
