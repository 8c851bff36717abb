//! What a metric is: name, kind, help, and every value its labels may have.
//!
//! A room declares its metrics once with [`declare!`] and can emit nothing else. A value outside its list is shown as
//! [`OTHER`], so no request, however odd, can add a series.

mod label;
mod metric;

pub use label::{Label, OTHER, Values, label, named};
pub use metric::{Counter, Facts, Gauge, Histogram, Kind, Metric};

/// Declares the metrics of one room and lists them in its `METRICS`.
#[macro_export]
macro_rules! declare {
    ($($name:ident: $kind:ty = $metric:expr;)+) => {
        $(pub(crate) static $name: $kind = $metric;)+

        /// Every metric of this room.
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

/// Gives help texts to the recorder and starts counters at zero: an increase from nothing to one is none to
/// Prometheus, and some of these count what must never happen.
pub fn register(metrics: &[&dyn Metric]) {
    for metric in metrics {
        metric.register();
    }
}
