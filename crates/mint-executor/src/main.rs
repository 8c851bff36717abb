//! The executor's process: settings, then work until a signal.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Ok(runtime::start::run(mint_executor::app::build).await?)
}
