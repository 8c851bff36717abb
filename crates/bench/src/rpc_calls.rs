//! The number of RPC calls of the executor: the sum over the labels of its counter.

use anyhow::Result;

use crate::settings::Settings;

const COUNTER: &str = "fiatrails_rpc_requests_total";

pub async fn total(settings: &Settings) -> Result<u64> {
    let text = testkit::http::client()?
        .get(&settings.executor_metrics)
        .send()
        .await?
        .error_for_status()?
        .text()
        .await?;
    Ok(sum(&text))
}

fn sum(metrics: &str) -> u64 {
    let samples = metrics.lines().filter(|line| line.starts_with(COUNTER));
    samples
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    #[test]
    fn sums_over_labels() {
        let text = "# TYPE fiatrails_rpc_requests_total counter\n\
                    fiatrails_rpc_requests_total{method=\"eth_getLogs\",status=\"ok\"} 40\n\
                    fiatrails_rpc_requests_total{method=\"eth_call\",status=\"ok\"} 2\n\
                    other_total 7\n";
        assert_eq!(super::sum(text), 42);
    }
}
