//! The three kinds of metrics. The number of labels is part of each type.

use metrics::{counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::label::{Label, Values};

/// A counter with more series than this is not started at zero: its series appear when they first count.
const MAX_ZEROED_SERIES: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Gauge,
    Histogram,
}

impl MetricKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Everything that is known about a metric before it measures anything.
#[derive(Clone, Copy, Debug)]
pub struct MetricDescription<'a> {
    pub name: &'static str,
    pub kind: MetricKind,
    pub help: &'static str,
    pub labels: &'a [Label],
}

pub trait Metric: Sync {
    fn description(&self) -> MetricDescription<'_>;

    /// Registers the metric with the recorder.
    fn register(&self);
}

macro_rules! kind {
    ($(#[$attr:meta])* $kind:ident) => {
        $(#[$attr])*
        #[derive(Debug)]
        pub struct $kind<const N: usize> {
            name: &'static str,
            help: &'static str,
            labels: [Label; N],
        }

        impl<const N: usize> $kind<N> {
            fn labels(&self, values: [&str; N]) -> Vec<metrics::Label> {
                self.labels.iter().zip(values).map(|(label, value)| label.with_value(value)).collect()
            }

            fn describe(&self) -> MetricDescription<'_> {
                MetricDescription {
                    name: self.name,
                    kind: MetricKind::$kind,
                    help: self.help,
                    labels: &self.labels,
                }
            }
        }
    };
}

kind!(
    /// A value that only increases.
    Counter
);
kind!(
    /// A value that rises and falls.
    Gauge
);
kind!(
    /// Measurements sorted into buckets.
    Histogram
);

impl<const N: usize> Counter<N> {
    /// The name must end in `_total`.
    pub const fn new(name: &'static str, help: &'static str, labels: [Label; N]) -> Self {
        assert!(
            ends_with(name.as_bytes(), b"_total"),
            "a counter's name ends in _total"
        );
        Self { name, help, labels }
    }

    pub fn increment(&self, values: [&str; N]) {
        self.add(values, 1);
    }

    pub fn add(&self, values: [&str; N], count: u64) {
        counter!(self.name, self.labels(values)).increment(count);
    }
}

impl<const N: usize> Gauge<N> {
    pub const fn new(name: &'static str, help: &'static str, labels: [Label; N]) -> Self {
        Self { name, help, labels }
    }

    pub fn set(&self, values: [&str; N], value: f64) {
        gauge!(self.name, self.labels(values)).set(value);
    }
}

impl<const N: usize> Histogram<N> {
    /// The name must end in `_seconds` or `_size`: the suffix selects the buckets.
    pub const fn new(name: &'static str, help: &'static str, labels: [Label; N]) -> Self {
        assert!(
            ends_with(name.as_bytes(), b"_seconds") || ends_with(name.as_bytes(), b"_size"),
            "a histogram's name ends in its unit"
        );
        Self { name, help, labels }
    }

    pub fn record(&self, values: [&str; N], measured: f64) {
        histogram!(self.name, self.labels(values)).record(measured);
    }
}

impl<const N: usize> Metric for Counter<N> {
    fn description(&self) -> MetricDescription<'_> {
        self.describe()
    }

    fn register(&self) {
        describe_counter!(self.name, self.help);
        let Some(all) = combinations(&self.labels) else {
            return;
        };
        for labels in all {
            counter!(self.name, labels).increment(0);
        }
    }
}

impl<const N: usize> Metric for Gauge<N> {
    fn description(&self) -> MetricDescription<'_> {
        self.describe()
    }

    fn register(&self) {
        describe_gauge!(self.name, self.help);
    }
}

impl<const N: usize> Metric for Histogram<N> {
    fn description(&self) -> MetricDescription<'_> {
        self.describe()
    }

    fn register(&self) {
        describe_histogram!(self.name, self.help);
    }
}

/// Every combination of listed values. `None` when there are too many, or when some values are only known at run time.
fn combinations(labels: &[Label]) -> Option<Vec<Vec<metrics::Label>>> {
    let mut all = vec![Vec::new()];
    for label in labels {
        let Values::Fixed(values) = &label.values else {
            return None;
        };
        if all.len() * values.len() > MAX_ZEROED_SERIES {
            return None;
        }
        let longer = |shorter: &Vec<metrics::Label>, value: &&str| {
            let mut longer = shorter.clone();
            longer.push(label.with_value(value));
            longer
        };
        all = all
            .iter()
            .flat_map(|shorter| values.iter().map(move |value| longer(shorter, value)))
            .collect();
    }
    Some(all)
}

/// `slice::ends_with`, which is no `const fn`.
const fn ends_with(text: &[u8], end: &[u8]) -> bool {
    match (text, end) {
        (_, []) => true,
        ([text @ .., last], [end @ .., wanted]) if *last == *wanted => ends_with(text, end),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::label::{dynamic_label, label};

    #[test]
    fn every_combination_once_unless_there_are_too_many() {
        let labels = [label("a", &["1", "2"]), label("b", &["x", "y", "z"])];
        assert_eq!(combinations(&labels).unwrap().len(), 6);
        assert_eq!(combinations(&[]).unwrap().len(), 1);
        assert!(combinations(&[dynamic_label("key", "keys", 3)]).is_none());
        let most = [label("a", &["v"; 16]), label("b", &["v"; 8])];
        assert_eq!(combinations(&most).unwrap().len(), 128);
        assert!(combinations(&[label("a", &["v"; 129])]).is_none());
        assert!(combinations(&[label("a", &["v"; 13]), label("b", &["v"; 10])]).is_none());
    }

    #[test]
    fn ends_with_compares_suffixes() {
        for (text, expected) in [
            ("a_total", true),
            ("_total", true),
            ("total", false),
            ("a_totals", false),
            ("a_tota1", false),
            ("", false),
        ] {
            assert_eq!(ends_with(text.as_bytes(), b"_total"), expected, "{text}");
        }
    }

    #[test]
    fn a_kind_has_the_name_that_prometheus_gives_it() {
        let names = [MetricKind::Counter, MetricKind::Gauge, MetricKind::Histogram].map(MetricKind::name);
        assert_eq!(names, ["counter", "gauge", "histogram"]);
    }
}
