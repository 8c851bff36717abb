//! The executor's process.

use runtime::Environment;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let environment = Environment::of_process();
    runtime::probe::answer_if_asked(&environment);
    let app = mint_executor::app::build(&environment)?;
    app.run_until_stopped().await
}
