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
