//! The metrics of the automatic replay, the only long-running command.

use messaging::WorkQueue;
use meter::{Counter, Gauge, label};

use reconcile::auto_replay::ReplayDecision;

meter::declare! {
    DECISIONS: Counter<2> = Counter::new(
        "fiatrails_dlq_auto_decisions_total", "Decisions of the automatic replay; each pass decides about each entry.",
        [label("queue", meter::names!(WorkQueue)), label("decision", meter::names!(ReplayDecision))]);
    ACTIONS: Counter<2> = Counter::new(
        "fiatrails_dlq_auto_actions_total", "Results for the entries that the automatic replay selected. closed: already done.",
        [label("queue", meter::names!(WorkQueue)), label("action", &["replayed", "closed", "kept", "failed"])]);
    PASSES: Counter<1> = Counter::new(
        "fiatrails_dlq_auto_passes_total", "Passes of the automatic replay over the dead-letter queues.",
        [label("result", &["ok", "failed"])]);
    BUDGET_LEFT: Gauge<0> = Gauge::new(
        "fiatrails_dlq_auto_budget_left", "Replays left of the hour's budget.", []);
    BREAKER_OPEN: Gauge<0> = Gauge::new(
        "fiatrails_dlq_auto_breaker_open", "1 while replays come back too often: nothing is replayed by itself.", []);
}
