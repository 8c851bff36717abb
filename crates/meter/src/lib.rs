//! What a metric is: name, kind, help, and every value its labels may have.
//!
//! A crate declares its metrics once with [`declare!`] and can emit no others. A label value that is not listed becomes
//! [`OTHER`], so no request can add a series.

mod label;
mod metric;
mod number;

pub use label::{Label, OTHER, Values, dynamic_label, label};
pub use metric::{Counter, Gauge, Histogram, Metric, MetricDescription, MetricKind};
pub use number::number;

/// Declares the metrics of one crate and lists them in its `METRICS`.
#[macro_export]
macro_rules! declare {
    ($($name:ident: $kind:ty = $metric:expr;)+) => {
        $(pub(crate) static $name: $kind = $metric;)+

        /// Every metric of this crate.
        pub const METRICS: &[&dyn $crate::Metric] = &[$(&$name),+];
    };
}

/// The names of an enum's variants, from its `ALL` and its `const fn name`.
#[macro_export]
macro_rules! names {
    ($type:ty) => {
        $crate::names!($type, name)
    };
    ($type:ty, $name:ident) => {
        &const {
            let mut names = [""; <$type>::ALL.len()];
            let mut i = 0;
            while i < names.len() {
                names[i] = <$type>::ALL[i].$name();
                i += 1;
            }
            names
        }
    };
}

/// Gives the help texts to the recorder and starts the counters at zero. Prometheus sees no increase when a series first
/// appears at one, and some of these counters count what must never happen.
pub fn register(metrics: &[&dyn Metric]) {
    for metric in metrics {
        metric.register();
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    declare! {
        ITEMS: Counter<1> = Counter::new("items_total", "Items by result.", [label("result", &["ok", "error"])]);
        DEPTH: Gauge<0> = Gauge::new("depth", "Length of the queue.", []);
        WAIT: Histogram<0> = Histogram::new("wait_seconds", "Time in the queue.", []);
    }

    /// What Prometheus reads once the metrics are registered and `measure` has run.
    fn read_after(measure: impl FnOnce()) -> String {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, || {
            register(METRICS);
            measure();
        });
        recorder.handle().render()
    }

    #[test]
    fn counters_start_at_zero_and_no_other_metric_is_invented() {
        let text = read_after(|| {});
        for line in [
            r#"items_total{result="ok"} 0"#,
            r#"items_total{result="error"} 0"#,
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} in {text}");
        }
        assert!(
            !text.contains("depth") && !text.contains("wait_seconds"),
            "{text}"
        );
    }

    #[test]
    fn each_metric_shows_its_help_and_what_was_measured() {
        let text = read_after(|| {
            ITEMS.increment(["ok"]);
            ITEMS.add(["ok"], 2);
            ITEMS.increment(["no such result"]);
            DEPTH.set([], 2.5);
            WAIT.record([], 0.25);
        });
        for line in [
            "# HELP items_total Items by result.",
            r#"items_total{result="ok"} 3"#,
            r#"items_total{result="other"} 1"#,
            "# HELP depth Length of the queue.",
            "depth 2.5",
            "# HELP wait_seconds Time in the queue.",
            "wait_seconds_sum 0.25",
            "wait_seconds_count 1",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line} in {text}");
        }
    }
}
