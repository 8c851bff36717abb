//! What this service counts and logs, as domain events. Called after the commit that made them true.

use domain::decision::LiveCommand;
use domain::tx_ref::TxRef;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use storage::callback::exceptions::Kind;
use storage::callback::reconcile::{Difference, KINDS, Money};

pub fn describe() {
    describe_counter!(
        "fiatrails_callbacks_total",
        "payment reports judged, by source and status"
    );
    describe_counter!(
        "fiatrails_outcomes_total",
        "chain outcomes taken in, by outcome and effect"
    );
    describe_counter!(
        "fiatrails_commands_total",
        "commands decided, by command and occasion"
    );
    describe_counter!("fiatrails_exceptions_total", "exceptions opened, by kind");
    describe_gauge!(
        "fiatrails_exceptions_open",
        "exceptions a person must still resolve, by kind"
    );
    describe_gauge!("fiatrails_orphan_payments", "payments that wait for their intent");
    describe_gauge!(
        "fiatrails_orphan_age_seconds",
        Unit::Seconds,
        "age of the oldest of them"
    );
    describe_counter!("fiatrails_sweep_errors_total", "sweeps that failed, by sweep");
    describe_gauge!(
        "fiatrails_unreconciled_shillings",
        "paid shillings that nothing accounts for"
    );
    describe_gauge!(
        "fiatrails_paid_shillings",
        "paid shillings, by what became of them"
    );
    describe_gauge!(
        "fiatrails_reconcile_differences",
        "differences the last pass found, by kind"
    );
    describe_histogram!(
        "fiatrails_paid_to_commanded_seconds",
        Unit::Seconds,
        "report received to execute commanded"
    );
    for kind in Kind::ALL {
        counter!("fiatrails_exceptions_total", "kind" => kind.name()).increment(0);
    }
}

/// Something that became true with a commit.
#[derive(Clone, Debug)]
pub enum Event {
    Opened {
        kind: Kind,
        detail: String,
    },
    Commanded {
        command: LiveCommand,
        again: bool,
        after_seconds: Option<f64>,
    },
    /// Paid by a report whose key is not mounted here.
    WaitsForKey {
        key_id: String,
    },
    Halted,
}

pub fn emit(tx_ref: &TxRef, events: &[Event]) {
    for event in events {
        match event {
            Event::Opened { kind, detail } => {
                counter!("fiatrails_exceptions_total", "kind" => kind.name()).increment(1);
                if kind.pages() {
                    tracing::error!(%tx_ref, kind = kind.name(), detail, "exception opened");
                } else {
                    tracing::warn!(%tx_ref, kind = kind.name(), detail, "exception opened");
                }
            }
            Event::Commanded {
                command,
                again,
                after_seconds,
            } => {
                let occasion = if *again { "redrive" } else { "first" };
                counter!("fiatrails_commands_total", "command" => command.name(), "occasion" => occasion)
                    .increment(1);
                if let Some(seconds) = after_seconds {
                    histogram!("fiatrails_paid_to_commanded_seconds").record(*seconds);
                }
                tracing::info!(%tx_ref, command = command.name(), occasion, "commanded");
            }
            Event::WaitsForKey { key_id } => {
                counter!("fiatrails_callbacks_total", "source" => "stored", "status" => "waits_for_key")
                    .increment(1);
                tracing::warn!(%tx_ref, kid = key_id, "paid, but the report's key is not mounted here");
            }
            Event::Halted => tracing::error!(%tx_ref, "executes are halted"),
        }
    }
}

/// `source`: `mpesa`, `operator` for an accepted late report, or `stored` for one that is judged again.
pub fn report(source: &'static str, status: &'static str) {
    counter!("fiatrails_callbacks_total", "source" => source, "status" => status).increment(1);
}

pub fn outcome(outcome: &'static str, effect: &'static str) {
    counter!("fiatrails_outcomes_total", "outcome" => outcome, "effect" => effect).increment(1);
}

pub fn open_exceptions(open: &[(String, u64)]) {
    for kind in Kind::ALL {
        let count = open
            .iter()
            .find(|(name, _)| name == kind.name())
            .map_or(0, |(_, count)| *count);
        gauge!("fiatrails_exceptions_open", "kind" => kind.name()).set(number(count));
    }
}

pub fn orphans(count: u64, oldest_seconds: f64) {
    gauge!("fiatrails_orphan_payments").set(number(count));
    gauge!("fiatrails_orphan_age_seconds").set(oldest_seconds);
}

pub fn sweep_failed(sweep: &'static str, error: &dyn std::error::Error) {
    counter!("fiatrails_sweep_errors_total", "sweep" => sweep).increment(1);
    tracing::warn!(sweep, error = %runtime::chain(error), "sweep failed");
}

pub fn reconciled(found: &[Difference], money: &Money) {
    for kind in KINDS {
        let count = found.iter().filter(|d| d.kind == kind).count();
        gauge!("fiatrails_reconcile_differences", "kind" => kind)
            .set(number(u64::try_from(count).unwrap_or(u64::MAX)));
    }
    for (fate, value) in [
        ("received", money.received),
        ("minted", money.minted),
        ("owed", money.owed),
        ("held", money.held),
        ("in_flight", money.in_flight),
    ] {
        gauge!("fiatrails_paid_shillings", "fate" => fate).set(number(value));
    }
    gauge!("fiatrails_unreconciled_shillings").set(number(money.unreconciled));
    if money.unreconciled > 0 || !found.is_empty() {
        let first = found.first();
        tracing::warn!(
            differences = found.len(),
            ?first,
            unreconciled = money.unreconciled,
            "reconciled with differences"
        );
    }
}

/// For a gauge; beyond 2^32 the last digits do not matter.
fn number(value: u64) -> f64 {
    u32::try_from(value).map_or_else(
        |_| f64::from(u32::try_from(value >> 32).unwrap_or(u32::MAX)) * 4_294_967_296.0,
        f64::from,
    )
}
