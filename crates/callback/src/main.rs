//! The callback service: settings, then work until a signal.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    Ok(runtime::start::run(callback::app::build).await?)
}
