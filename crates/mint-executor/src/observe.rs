//! The executor's domain events, each of which counts and logs. Labels are bounded: commands, outcomes, kinds.

mod items;
mod spans;

use std::time::Duration;

use chain::fees::FeeAboveCap;
use chain::inspect::EscrowStatus;
use chain::query::BlockHeader;
use chain::{SendOutcome, TxHash};
use domain::address::Address;
use domain::command::Command;
use domain::ids::IntentId;
use domain::item_result::{ItemOutcome, ItemResult};
use messaging::wire::Outcome;
use meter::{Counter, Gauge, Histogram, Label, dynamic_label, label, number};
use storage::StorageError;
use storage::executor::attempts::OpenAttempts;
use storage::executor::heartbeat::ExecutorHeartbeat;
use storage::executor::items::WorkItemRow;
use storage::executor::signers::SignerLease;
use strum::{IntoStaticStr, VariantArray};
use tracing::Span;

use crate::error::WorkError;
use crate::rules::queue::queue_of;
use crate::rules::simulation::{SimulatedRefusal, SimulationResult};

pub use items::{ItemTiming, SettledItem, compliance_checked, item_settled};
pub use spans::{consume_span, outcome_span, sign_span};

const COMMANDS: &[&str] = meter::names!(Command);
const OUTCOMES: [&str; ItemOutcome::ALL.len()] = *meter::names!(ItemOutcome);
const ITEM_RESULTS: &[&str] = meter::names!(ItemResult);
/// Why an item is parked: the chain's answer, or a fault of its sealed command.
const PARK_CLASSES: &[&str] = &after_outcomes::<12, { OUTCOMES.len() + 12 }>([
    "no_event",
    "reverted",
    "no_leg",
    "row_tampered",
    "other_deployment",
    "seal_invalid",
    "malformed",
    "report_tampered",
    "report_unparsable",
    "report_other_tx_ref",
    "report_not_paid",
    "report_other_amount",
]);
const SEND_RESULTS: &[&str] = &[
    "accepted",
    "already_known",
    "unknown",
    "nonce_too_low",
    "nonce_too_high",
    "replacement_underpriced",
    "fee_too_low",
    "fee_too_high",
    "insufficient_funds",
    "pool_full",
    "gas_limit",
    "invalid",
];

const fn signer() -> Label {
    dynamic_label("signer", "signing keys of this process", 16)
}

/// A part of an intent's processing whose duration is a service level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum Stage {
    AcceptToEscrowed,
    PaidToMined,
    MinedToFinal,
}

impl Stage {
    pub const ALL: [Self; Self::VARIANTS.len()] = domain::variants();

    pub const fn name(self) -> &'static str {
        self.into_str()
    }
}

meter::declare! {
    WORK_ITEMS: Counter<1> = Counter::new(
        "fiatrails_work_items_total", "Commands taken from their queues.", [label("command", COMMANDS)]);
    ATTEMPTS: Counter<1> = Counter::new(
        "fiatrails_attempts_total", "Transactions signed for a command.", [label("command", COMMANDS)]);
    BATCH_SIZE: Histogram<1> = Histogram::new(
        "fiatrails_batch_size", "Items per transaction.", [label("command", COMMANDS)]);
    SENT: Counter<1> = Counter::new(
        "fiatrails_sends_total", "Broadcasts, by the node's answer.", [label("result", SEND_RESULTS)]);
    SIMULATIONS: Counter<2> = Counter::new(
        "fiatrails_simulations_total", "Batches put to a node before they are signed; unknown ones go as they are.",
        [label("command", COMMANDS), label("result", &["clean", "refused", "unknown"])]);
    SIMULATED_REFUSALS: Counter<2> = Counter::new(
        "fiatrails_simulation_refusals_total", "Items kept out of a batch, by what the chain would have answered.",
        [label("command", COMMANDS), label("outcome", ITEM_RESULTS)]);
    SETTLED: Counter<2> = Counter::new(
        "fiatrails_items_settled_total", "Items whose block was taken in.",
        [label("command", COMMANDS), label("outcome", ITEM_RESULTS)]);
    COMPLIANCE: Counter<1> = Counter::new(
        "fiatrails_compliance_checks_total", "Mints that compliance decided on chain.",
        [label("result", &["compliant", "not_compliant", "paused"])]);
    STAGES: Histogram<1> = Histogram::new(
        "fiatrails_stage_duration_seconds",
        "How long a stage took. paid_to_mined counts from the report's receipt, also where the deposit came later.",
        [label("stage", meter::names!(Stage))]);
    OUTCOMES_PUBLISHED: Counter<1> = Counter::new(
        "fiatrails_outcomes_total", "Outcomes told to the callback service.", [label("outcome", meter::names!(Outcome))]);
    PARKED: Counter<1> = Counter::new(
        "fiatrails_items_parked_total", "Items parked by the executor.", [label("class", PARK_CLASSES)]);
    REORGS: Counter<1> = Counter::new(
        "fiatrails_reorgs_total", "Reorganisations followed.", [label("past_final", &["true", "false"])]);
    REDRIVEN: Counter<0> = Counter::new("fiatrails_outcomes_redriven_total", "Outcomes told again.", []);
    TAMPERED: Counter<1> = Counter::new(
        "fiatrails_tampered_rows_total", "Rows that contradict what was signed or sealed, each time one is met.",
        [label("table", &["chain_legs", "attempts", "attempt_items", "work_items"])]);
    BLOCK_SEEN: Histogram<0> = Histogram::new(
        "fiatrails_block_ingest_delay_seconds", "Block timestamp (whole seconds) to taken in.", []);
    REPLACEMENTS: Counter<0> = Counter::new(
        "fiatrails_replacements_total", "Transactions signed again at a higher price.", []);
    GAPS_FILLED: Counter<0> = Counter::new(
        "fiatrails_nonce_gaps_filled_total", "Missing nonces used up by empty transactions.", []);
    FEE_CAPPED: Gauge<1> = Gauge::new(
        "fiatrails_fee_cap_reached", "1 while something of a signer waits because the market asks more than may be paid.",
        [signer()]);
    HEAD: Gauge<0> = Gauge::new("fiatrails_head_block", "Last block taken in.", []);
    HEAD_TIME: Gauge<0> = Gauge::new(
        "fiatrails_head_timestamp_seconds", "Unix time in the header of the last block taken in.", []);
    SIGNER_BALANCE: Gauge<1> = Gauge::new(
        "fiatrails_signer_balance_wei", "Native balance of a signer, in wei.", [signer()]);
    SIGNER_MINIMUM: Gauge<0> = Gauge::new(
        "fiatrails_signer_minimum_wei", "Native balance below which a signer sends nothing, in wei.", []);
    NONCE_GAP: Gauge<1> = Gauge::new(
        "fiatrails_signer_nonce_gap", "Nonces signed for that no block has used.", [signer()]);
    OLDEST_ATTEMPT: Gauge<1> = Gauge::new(
        "fiatrails_attempt_oldest_seconds", "Age of a signer's oldest transaction that no block holds.", [signer()]);
    IN_FLIGHT_LIMIT: Gauge<1> = Gauge::new(
        "fiatrails_signer_in_flight_limit", "Transactions that a signer may have without a block at once.", [signer()]);
    MAX_IN_FLIGHT: Gauge<0> = Gauge::new(
        "fiatrails_signer_in_flight_limit_max", "What that may rise to for any signer: EXECUTOR_MAX_IN_FLIGHT.", []);
    OPEN_ITEMS: Gauge<1> = Gauge::new(
        "fiatrails_work_items_open", "Commands not settled.", [label("command", COMMANDS)]);
    TREASURY: Gauge<0> = Gauge::new(
        "fiatrails_treasury_balance", "Stablecoin the treasury has and allows to deposit, whole units.", []);
    LEASE: Gauge<1> = Gauge::new("fiatrails_lease_held", "1 while this executor holds the signer.", [signer()]);
    RPC_CONNECTED: Gauge<0> = Gauge::new("fiatrails_rpc_connected", "1 while a node answers.", []);
}

pub fn commands_stored(command: Command, count: usize) {
    WORK_ITEMS.add([command.name()], to_u64(count));
}

pub fn commands_not_stored(command: Command, error: &StorageError) {
    tracing::warn!(command = command.name(), error = %domain::error_chain(error), "commands not stored; they stay queued");
}

/// `spans` are those of the batch's members.
pub fn attempt_stored(command: Command, spans: &[Span], nonce: u64, hash: &TxHash) {
    let items = spans.len();
    for span in spans {
        span.record("tx_hash", tracing::field::display(hash));
    }
    ATTEMPTS.increment([command.name()]);
    BATCH_SIZE.record([command.name()], number(items));
    tracing::info!(command = command.name(), items, nonce, tx_hash = %hash, "attempt stored");
}

/// The batch changed while it was signed. Nothing was stored, so nothing was sent.
pub fn signature_discarded(command: Command) {
    tracing::info!(
        command = command.name(),
        "a batch changed while it was signed; it is signed again"
    );
}

/// `results` has one entry per item of a batch.
pub fn batch_simulated<'a>(command: Command, heard: impl Iterator<Item = &'a SimulationResult>) {
    let mut found = "clean";
    for advice in heard {
        let SimulationResult::Withhold(
            SimulatedRefusal::Settle { result, .. } | SimulatedRefusal::RetryLater(result),
        ) = advice
        else {
            continue;
        };
        found = "refused";
        SIMULATED_REFUSALS.increment([command.name(), result.name()]);
    }
    SIMULATIONS.increment([command.name(), found]);
}

pub fn batch_not_simulated(command: Command, error: &(dyn std::error::Error + 'static)) {
    SIMULATIONS.increment([command.name(), "unknown"]);
    tracing::warn!(command = command.name(), error = %domain::error_chain(error), "not simulated; the batch is sent as it is");
}

pub fn replaced(nonce: u64, hash: &TxHash, max_fee: u128) {
    REPLACEMENTS.increment([]);
    tracing::warn!(nonce, tx_hash = %hash, max_fee = %max_fee, "signed again at a higher price");
}

/// Set at the start too: a dashboard cannot tell a missing series from a forgotten one.
pub fn fee_capped(signer: &Address, is: bool) {
    FEE_CAPPED.set([&signer.to_string()], if is { 1.0 } else { 0.0 });
}

/// The fee may not rise further: the attempt waits until the base fee falls.
pub fn stuck_at_cap(nonce: u64, too_dear: &FeeAboveCap) {
    tracing::error!(nonce, error = %too_dear, "stuck at the fee cap");
}

/// Nothing is signed for these items, which wait in their rows.
pub fn waits_for_fees(command: Command, too_dear: &FeeAboveCap) {
    tracing::error!(command = command.name(), error = %too_dear, "work waits for lower fees");
}

pub fn no_longer_waits_for_fees(command: Command) {
    tracing::info!(command = command.name(), "work no longer waits for lower fees");
}

pub fn gap_filled(nonce: u64, hash: &TxHash) {
    GAPS_FILLED.increment([]);
    tracing::warn!(nonce, tx_hash = %hash, "a missing nonce is used up by an empty transaction");
}

pub fn sent(hash: TxHash, outcome: &SendOutcome) {
    SENT.increment([outcome.kind()]);
    match outcome {
        SendOutcome::Accepted | SendOutcome::AlreadyKnown => tracing::debug!(tx_hash = %hash, "broadcast"),
        other => {
            tracing::warn!(tx_hash = %hash, answer = ?other, "broadcast without a good answer; the chain decides");
        }
    }
}

pub fn item_parked(item: &WorkItemRow, class: &'static str, text: &str) {
    PARKED.increment([class]);
    if class == "seal_invalid" {
        messaging::observe::seal_failed(queue_of(item.command));
    }
    if class == "row_tampered" || class == "no_leg" {
        TAMPERED.increment(["work_items"]);
    }
    tracing::error!(
        command = item.command.name(), intent_id = %item.intent_id, message_id = %item.message_id, class, text,
        "item parked"
    );
}

pub fn outcome_published(outcome: Outcome) {
    OUTCOMES_PUBLISHED.increment([outcome.name()]);
}

/// `seen_after` is the time from the block's timestamp to now, by our clock.
pub fn block_ingested(header: &BlockHeader, seen_after: f64) {
    HEAD.set([], number(header.number));
    HEAD_TIME.set([], number(header.timestamp));
    BLOCK_SEEN.record([], seen_after.max(0.0));
}

pub fn reorg(from: u64, ancestor: u64, past_final: bool) {
    let label = if past_final { "true" } else { "false" };
    REORGS.increment([label]);
    if past_final {
        tracing::error!(from, ancestor, "a reorganisation went past final blocks");
    } else {
        tracing::warn!(from, ancestor, "the chain was reorganised");
    }
}

pub fn row_tampered(table: &'static str, intent: &IntentId) {
    TAMPERED.increment([table]);
    tracing::error!(table, intent_id = %intent, "a row contradicts what was signed or sealed");
}

/// Counts stored transaction bytes that our signer did not sign.
pub fn bytes_tampered() {
    TAMPERED.increment(["attempts"]);
}

pub fn outcomes_redriven(count: usize) {
    REDRIVEN.add([], to_u64(count));
    tracing::info!(count, "outcomes published again");
}

pub fn lease_won(signer: &Address, lease: &SignerLease) {
    LEASE.set([&signer.to_string()], 1.0);
    tracing::info!(%signer, fencing_token = lease.fencing_token, "the signer's lease is acquired");
}

pub fn lease_lost(signer: &Address) {
    lease_missing(signer);
    tracing::warn!(%signer, "the signer's lease is lost");
}

pub fn unresponsive_signer_released(signer: &Address) {
    lease_missing(signer);
    tracing::error!(
        %signer,
        "the signer gives no signature: its lease is released for an executor where it may sign"
    );
}

/// Set from the start: a signer that no executor ever held must be visible.
pub fn lease_missing(signer: &Address) {
    LEASE.set([&signer.to_string()], 0.0);
}

pub fn round_failed(what: &'static str, error: &WorkError) {
    match error {
        WorkError::NoLease | WorkError::NoHead => tracing::debug!(what, %error, "not now"),
        WorkError::Chain(chain) if chain.is_transient() => {
            tracing::warn!(what, error = %domain::error_chain(error), "the chain does not answer");
        }
        _ => tracing::error!(what, error = %domain::error_chain(error), "a round of work failed"),
    }
}

pub fn beat(beat: &ExecutorHeartbeat) {
    RPC_CONNECTED.set([], if beat.rpc_connected { 1.0 } else { 0.0 });
}

pub fn escrow_status(now: &EscrowStatus) {
    const UNIT: u128 = 1_000_000_000_000_000_000;
    let whole = now.treasury_balance.min(now.treasury_allowance) / UNIT;
    TREASURY.set([], number(whole));
}

/// The signer sends nothing below `minimum`.
pub fn signer_balance(signer: &Address, balance: u128, minimum: u128) {
    SIGNER_BALANCE.set([&signer.to_string()], number(balance));
    SIGNER_MINIMUM.set([], number(minimum));
}

/// Sets the gauges of any signer, ours or not, so that one without a holder is visible.
pub fn in_flight(open: &OpenAttempts) {
    let Ok(signer) = Address::from_bytes(open.signer) else {
        return;
    };
    let signer = signer.to_string();
    NONCE_GAP.set([&signer], number(open.nonces));
    OLDEST_ATTEMPT.set([&signer], open.oldest_seconds);
}

/// Sets the gauges of a signer of ours. `limit` is the setting, the upper bound.
pub fn in_flight_limit(signer: &Address, transactions: u64, limit: u64) {
    IN_FLIGHT_LIMIT.set([&signer.to_string()], number(transactions));
    MAX_IN_FLIGHT.set([], number(limit));
}

pub fn backlog(items: &[(Command, u64)]) {
    for command in Command::ALL {
        let open = items
            .iter()
            .find(|(counted, _)| *counted == command)
            .map_or(0, |(_, count)| *count);
        OPEN_ITEMS.set([command.name()], number(open));
    }
}

/// Records the duration of a completed stage.
pub fn stage_completed(stage: Stage, took: Duration) {
    STAGES.record([stage.name()], took.as_secs_f64());
}

fn to_u64(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// All outcomes of the escrow, followed by `more`.
const fn after_outcomes<const M: usize, const N: usize>(more: [&'static str; M]) -> [&'static str; N] {
    let mut all = [""; N];
    let mut i = 0;
    while i < N {
        all[i] = if i < OUTCOMES.len() {
            OUTCOMES[i]
        } else {
            more[i - OUTCOMES.len()]
        };
        i += 1;
    }
    all
}
