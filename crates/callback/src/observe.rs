//! The metrics and logs of this service, as domain events. They are emitted after the commit that made them true.

use domain::decision::LiveCommand;
use domain::exception::ExceptionKind;
use domain::fate::{Fate, FateTotals};
use domain::report_outcome::ReportOutcome;
use domain::tx_ref::TxRef;
use messaging::wire::Outcome;
use meter::{Counter, Gauge, Histogram, label, number};
use storage::callback::reconcile::{DIFFERENCE_KINDS, DifferenceRow};
use tracing::Span;

/// What the handling of a report led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandledReport {
    Stored(ReportOutcome),
    /// The report was processed before.
    Repeated,
    /// It is signed with a key that is not mounted here (yet).
    WaitsForKey,
}

impl HandledReport {
    const ALL: [Self; ReportOutcome::ALL.len() + 2] = {
        let mut all = [Self::Repeated; ReportOutcome::ALL.len() + 2];
        let mut i = 0;
        while i < ReportOutcome::ALL.len() {
            all[i] = Self::Stored(ReportOutcome::ALL[i]);
            i += 1;
        }
        all[i + 1] = Self::WaitsForKey;
        all
    };

    const fn name(self) -> &'static str {
        match self {
            Self::Stored(outcome) => outcome.name(),
            Self::Repeated => "repeated",
            Self::WaitsForKey => "waits_for_key",
        }
    }
}

impl From<ReportOutcome> for HandledReport {
    fn from(outcome: ReportOutcome) -> Self {
        Self::Stored(outcome)
    }
}

const SWEEPS: &[&str] = &[
    "expire",
    "expiry",
    "undecided",
    "redrive",
    "orphans",
    "orphan",
    "parked",
    "gauges",
];

meter::declare! {
    REPORTS: Counter<2> = Counter::new(
        "fiatrails_reports_classified_total",
        "Payment reports processed. operator: an accepted late report; stored: one that is processed again.",
        [label("source", &["mpesa", "operator", "stored"]), label("status", meter::names!(HandledReport))]);
    OUTCOMES: Counter<2> = Counter::new(
        "fiatrails_outcomes_received_total", "Chain outcomes received.",
        [label("outcome", meter::names!(Outcome)), label("effect", &["applied", "unchanged"])]);
    COMMANDS: Counter<2> = Counter::new(
        "fiatrails_commands_total", "Commands decided.",
        [label("command", &[LiveCommand::Execute.name(), LiveCommand::Refund.name()]), label("trigger", &["first", "redrive"])]);
    EXCEPTIONS: Counter<1> = Counter::new(
        "fiatrails_exceptions_total", "Exceptions opened.", [label("kind", meter::names!(ExceptionKind))]);
    EXCEPTIONS_OPEN: Gauge<1> = Gauge::new(
        "fiatrails_exceptions_open", "Exceptions that a person must still resolve.", [label("kind", meter::names!(ExceptionKind))]);
    ORPHANS: Gauge<0> = Gauge::new("fiatrails_orphan_payments", "Payments that wait for their intent.", []);
    ORPHAN_AGE: Gauge<0> = Gauge::new("fiatrails_orphan_age_seconds", "Age of the oldest payment that waits for its intent.", []);
    SWEEP_ERRORS: Counter<1> = Counter::new(
        "fiatrails_sweep_errors_total", "Sweeps that failed.", [label("sweep", SWEEPS)]);
    UNRECONCILED: Gauge<0> = Gauge::new(
        "fiatrails_unreconciled_shillings", domain::fate::EQUATION, []);
    PAID: Gauge<1> = Gauge::new(
        "fiatrails_paid_shillings", "Paid shillings, by their present state.",
        [label("fate", &["received", "minted", "owed", "held", "in_flight"])]);
    DIFFERENCES: Gauge<1> = Gauge::new(
        "fiatrails_reconcile_differences", "Differences the last pass found.", [label("kind", &DIFFERENCE_KINDS)]);
    RECONCILED_AT: Gauge<0> = Gauge::new(
        "fiatrails_reconciled_timestamp_seconds", "Unix time of the last complete reconcile pass.", []);
    PAID_TO_COMMANDED: Histogram<0> = Histogram::new(
        "fiatrails_paid_to_commanded_seconds", "Report received to execute commanded.", []);
}

/// An event that became true with a commit.
#[derive(Clone, Debug)]
pub enum Event {
    ExceptionOpened {
        kind: ExceptionKind,
        detail: String,
    },
    Commanded {
        command: LiveCommand,
        redriven: bool,
        after_seconds: Option<f64>,
        /// The span of the decision.
        span: Span,
    },
    /// The payment's report is signed with a key that is not mounted here.
    WaitsForKey {
        key_id: String,
    },
    ExecutesHalted,
}

pub fn emit(tx_ref: &TxRef, events: &[Event]) {
    for event in events {
        match event {
            Event::ExceptionOpened { kind, detail } => {
                EXCEPTIONS.increment([kind.name()]);
                if kind.pages() {
                    tracing::error!(%tx_ref, kind = kind.name(), detail, "exception opened");
                } else {
                    tracing::warn!(%tx_ref, kind = kind.name(), detail, "exception opened");
                }
            }
            Event::Commanded {
                command,
                redriven: again,
                after_seconds,
                span,
            } => {
                let trigger = if *again { "redrive" } else { "first" };
                COMMANDS.increment([command.name(), trigger]);
                if let Some(seconds) = after_seconds {
                    PAID_TO_COMMANDED.record([], *seconds);
                }
                span.in_scope(|| tracing::info!(trigger, "commanded"));
            }
            Event::WaitsForKey { key_id } => {
                report("stored", HandledReport::WaitsForKey);
                tracing::warn!(%tx_ref, kid = key_id, "paid, but the report's key is not mounted here");
            }
            Event::ExecutesHalted => tracing::error!(%tx_ref, "executes are halted"),
        }
    }
}

/// `source` is `mpesa`, `operator` for an accepted late report, or `stored` for a stored report that is verified again.
pub fn report(source: &'static str, handled: impl Into<HandledReport>) {
    REPORTS.increment([source, handled.into().name()]);
}

pub fn outcome(outcome: Outcome, is_news: bool) {
    let effect = if is_news { "applied" } else { "unchanged" };
    OUTCOMES.increment([outcome.name(), effect]);
    tracing::debug!(outcome = outcome.name(), effect, "outcome received");
}

pub fn open_exceptions(open: &[(ExceptionKind, u64)]) {
    for kind in ExceptionKind::ALL {
        let count = open
            .iter()
            .find(|(counted, _)| *counted == kind)
            .map_or(0, |(_, count)| *count);
        EXCEPTIONS_OPEN.set([kind.name()], number(count));
    }
}

pub fn orphans(count: u64, oldest_seconds: f64) {
    ORPHANS.set([], number(count));
    ORPHAN_AGE.set([], oldest_seconds);
}

pub fn sweep_failed(sweep: &'static str, error: &dyn std::error::Error) {
    SWEEP_ERRORS.increment([sweep]);
    tracing::warn!(sweep, error = %domain::error_chain(error), "sweep failed");
}

/// `at` is the time of the pass, in unix seconds.
pub fn reconciled(found: &[DifferenceRow], money: &FateTotals, at: i64) {
    for kind in DIFFERENCE_KINDS {
        let count = found.iter().filter(|d| d.kind == kind).count();
        DIFFERENCES.set([kind], number(count));
    }
    let sum = |fates: [Fate; 2]| {
        fates
            .map(|fate| money.of(fate))
            .into_iter()
            .fold(0, u64::saturating_add)
    };
    for (fate, value) in [
        ("received", money.received()),
        ("minted", money.of(Fate::Minted)),
        ("owed", sum([Fate::Owed, Fate::Settled])),
        ("held", money.of(Fate::Held)),
        ("in_flight", sum([Fate::InFlight, Fate::Orphaned])),
    ] {
        PAID.set([fate], number(value));
    }
    let unreconciled = money.of(Fate::Unreconciled);
    UNRECONCILED.set([], number(unreconciled));
    RECONCILED_AT.set([], number(at));
    if unreconciled > 0 || !found.is_empty() {
        let first = found.first();
        tracing::warn!(
            differences = found.len(),
            ?first,
            unreconciled,
            "reconciled with differences"
        );
    }
}
