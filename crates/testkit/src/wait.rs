//! Waits for a condition, with a deadline: all tests and drivers wait this way.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

const STEP: Duration = Duration::from_millis(25);

/// Lets time pass: for a load's pace, a fault's length, or the next look at a server that announces nothing. It is no
/// way to wait for a condition; [`eventually`] is.
#[expect(clippy::disallowed_methods, reason = "the one pause of all rigs")]
pub async fn pause(time: Duration) {
    tokio::time::sleep(time).await;
}

/// Polls `probe` until it yields a value. An error or `None` means "not yet"; the last error is part
/// of the message when `deadline` passes.
pub async fn eventually<T, F, Fut>(deadline: Duration, what: &str, mut probe: F) -> Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<Option<T>>>,
{
    let end = Instant::now() + deadline;
    let mut last = None;
    loop {
        // The probe itself may hang (on a stalled proxy, say), so it is limited to the remaining time.
        let left = end.saturating_duration_since(Instant::now()).max(STEP);
        match tokio::time::timeout(left, probe()).await {
            Ok(Ok(Some(value))) => return Ok(value),
            Ok(Ok(None)) => {}
            Ok(Err(error)) => last = Some(format!("{error:#}")),
            Err(_) => last = Some("the probe did not answer".to_owned()),
        }
        if Instant::now() >= end {
            let why = last
                .map(|text| format!(" (last error: {text})"))
                .unwrap_or_default();
            bail!("{what}: not within {deadline:?}{why}");
        }
        pause(STEP).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn gives_up_at_the_deadline_with_the_last_error() {
        let started = Instant::now();
        let outcome: Result<()> = eventually(Duration::from_millis(80), "the moon", async || {
            bail!("still dark")
        })
        .await;
        let text = format!("{:#}", outcome.unwrap_err());
        assert!(text.contains("the moon") && text.contains("still dark"), "{text}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn a_hanging_probe_does_not_outlive_the_deadline() {
        let outcome: Result<()> = eventually(Duration::from_millis(80), "a hang", async || {
            std::future::pending().await
        })
        .await;
        assert!(outcome.is_err());
    }
}
