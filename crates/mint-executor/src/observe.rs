//! What happens here, as events that count and log. Labels are bounded: commands, outcomes, kinds.

use chain::fees::TooDear;
use chain::inspect::Condition;
use chain::{SendOutcome, TxHash};
use domain::ids::IntentId;
use messaging::wire::Outcome;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use storage::StorageError;
use storage::executor::heartbeat::Beat;
use storage::executor::items::{ItemRow, WorkCommand};
use storage::executor::signers::Lease;

use crate::context::WorkError;
use crate::decide::Ending;

/// Registers help texts; once per process.
pub fn describe() {
    describe_counter!(
        "fiatrails_work_items_total",
        "commands taken from their queues, by command"
    );
    describe_counter!("fiatrails_attempts_total", "transactions signed, by command");
    describe_histogram!("fiatrails_batch_items", "items per transaction, by command");
    describe_counter!("fiatrails_sends_total", "broadcasts, by the node's answer");
    describe_counter!(
        "fiatrails_items_settled_total",
        "items whose block was taken in, by command and ending"
    );
    describe_counter!(
        "fiatrails_compliance_checks_total",
        "mints decided by the compliance source, by result"
    );
    describe_counter!(
        "fiatrails_outcomes_total",
        "outcomes told to the decider, by outcome"
    );
    describe_counter!(
        "fiatrails_items_parked_total",
        "items parked by the executor, by class"
    );
    describe_counter!(
        "fiatrails_reorgs_total",
        "reorganisations followed, by whether they went past final"
    );
    describe_counter!("fiatrails_redriven_total", "outcomes told again");
    describe_counter!(
        "fiatrails_rows_tampered_total",
        "rows that contradict what was signed or sealed, by table"
    );
    describe_histogram!(
        "fiatrails_block_seen_seconds",
        Unit::Seconds,
        "block timestamp to taken in"
    );
    describe_counter!(
        "fiatrails_replacements_total",
        "transactions signed again at a higher price"
    );
    describe_counter!(
        "fiatrails_nonce_gaps_filled_total",
        "missing nonces used up by empty transactions"
    );
    describe_gauge!(
        "fiatrails_fee_cap_reached",
        "1 while a transaction waits because its price may not rise further"
    );
    describe_gauge!("fiatrails_head_block", "last block taken in");
    describe_gauge!("fiatrails_signer_balance_wei", "native balance of the signer");
    describe_gauge!("fiatrails_signer_nonce_gap", "transactions without a block");
    describe_gauge!("fiatrails_work_items_open", "commands not settled, by command");
    describe_gauge!(
        "fiatrails_treasury_balance",
        "stablecoin the treasury can deposit, whole units"
    );
    describe_gauge!("fiatrails_lease_held", "1 while this executor holds its signer");
}

pub fn collected(command: WorkCommand, count: usize) {
    counter!("fiatrails_work_items_total", "command" => command.name()).increment(wide(count));
}

pub fn not_collected(command: WorkCommand, error: &StorageError) {
    tracing::warn!(command = command.name(), error = %runtime::chain(error), "commands not stored; they stay queued");
}

pub fn signed(command: WorkCommand, items: usize, nonce: u64, hash: &TxHash) {
    counter!("fiatrails_attempts_total", "command" => command.name()).increment(1);
    histogram!("fiatrails_batch_items", "command" => command.name()).record(float(wide(items)));
    tracing::info!(command = command.name(), items, nonce, tx_hash = %hash, "attempt stored");
}

pub fn replaced(nonce: u64, hash: &TxHash, max_fee: u128) {
    counter!("fiatrails_replacements_total").increment(1);
    tracing::warn!(nonce, tx_hash = %hash, max_fee = %max_fee, "signed again at a higher price");
}

/// The price may not rise further: the attempt waits for the market.
pub fn fee_capped(nonce: u64, too_dear: &TooDear) {
    gauge!("fiatrails_fee_cap_reached").set(1.0);
    tracing::error!(nonce, error = %too_dear, "stuck at the fee cap");
}

pub fn fee_cap_left() {
    gauge!("fiatrails_fee_cap_reached").set(0.0);
}

pub fn gap_filled(nonce: u64, hash: &TxHash) {
    counter!("fiatrails_nonce_gaps_filled_total").increment(1);
    tracing::warn!(nonce, tx_hash = %hash, "a missing nonce is used up by an empty transaction");
}

pub fn sent(hash: TxHash, outcome: &SendOutcome) {
    counter!("fiatrails_sends_total", "result" => outcome.kind()).increment(1);
    match outcome {
        SendOutcome::Accepted | SendOutcome::AlreadyKnown => tracing::debug!(tx_hash = %hash, "broadcast"),
        other => tracing::warn!(tx_hash = %hash, answer = ?other, "broadcast; the chain will tell"),
    }
}

pub fn settled(command: WorkCommand, ending: Ending, intent: &IntentId) {
    counter!("fiatrails_items_settled_total", "command" => command.name(), "ending" => ending.name())
        .increment(1);
    if command == WorkCommand::Execute {
        let result = match ending {
            Ending::Told(chain::ItemOutcome::Done) => Some("compliant"),
            Ending::Told(chain::ItemOutcome::NotCompliant) => Some("not_compliant"),
            Ending::Told(chain::ItemOutcome::CompliancePaused) => Some("paused"),
            _ => None,
        };
        if let Some(result) = result {
            counter!("fiatrails_compliance_checks_total", "result" => result).increment(1);
        }
    }
    if ending != Ending::Told(chain::ItemOutcome::Done) {
        tracing::info!(command = command.name(), ending = ending.name(), intent_id = %intent, "item not done");
    }
}

pub fn parked(item: &ItemRow, class: &'static str, text: &str) {
    counter!("fiatrails_items_parked_total", "class" => class).increment(1);
    tracing::error!(
        command = item.command.name(), intent_id = %item.intent_id, message_id = %item.message_id, class, text,
        "item parked"
    );
}

pub fn outcome(outcome: Outcome) {
    let name = match outcome {
        Outcome::Escrowed => "escrowed",
        Outcome::Executed => "executed",
        Outcome::Refunded => "refunded",
        Outcome::Refused => "refused",
        Outcome::Rejected => "rejected",
        Outcome::Dropped => "dropped",
    };
    counter!("fiatrails_outcomes_total", "outcome" => name).increment(1);
}

/// Block time to now, by our clock.
pub fn block(number: u64, seen_after: f64) {
    gauge!("fiatrails_head_block").set(float(number));
    histogram!("fiatrails_block_seen_seconds").record(seen_after.max(0.0));
}

pub fn reorg(from: u64, ancestor: u64, past_final: bool) {
    let label = if past_final { "true" } else { "false" };
    counter!("fiatrails_reorgs_total", "past_final" => label).increment(1);
    if past_final {
        tracing::error!(from, ancestor, "a reorganisation went past final blocks");
    } else {
        tracing::warn!(from, ancestor, "the chain was reorganised");
    }
}

pub fn row_tampered(table: &'static str, intent: &IntentId) {
    counter!("fiatrails_rows_tampered_total", "table" => table).increment(1);
    tracing::error!(table, intent_id = %intent, "a row contradicts what was signed or sealed");
}

/// Stored transaction bytes that our signer did not sign.
pub fn bytes_tampered() {
    counter!("fiatrails_rows_tampered_total", "table" => "attempts").increment(1);
}

pub fn redriven(count: usize) {
    counter!("fiatrails_redriven_total").increment(wide(count));
    tracing::info!(count, "outcomes told again");
}

pub fn lease_won(lease: &Lease) {
    gauge!("fiatrails_lease_held").set(1.0);
    tracing::info!(fencing_token = lease.fencing_token, "the signer is ours");
}

pub fn lease_lost() {
    gauge!("fiatrails_lease_held").set(0.0);
    tracing::warn!("the signer's lease is lost");
}

pub fn round_failed(what: &'static str, error: &WorkError) {
    match error {
        WorkError::NoLease | WorkError::NoHead => tracing::debug!(what, %error, "not now"),
        WorkError::Chain(chain) if chain.is_transient() => {
            tracing::warn!(what, error = %runtime::chain(error), "the chain does not answer");
        }
        _ => tracing::error!(what, error = %runtime::chain(error), "a round of work failed"),
    }
}

pub fn beat(beat: &Beat) {
    gauge!("fiatrails_rpc_connected").set(if beat.rpc_connected { 1.0 } else { 0.0 });
}

pub fn condition(now: &Condition) {
    const UNIT: u128 = 1_000_000_000_000_000_000;
    gauge!("fiatrails_signer_balance_wei").set(float(u64::try_from(now.signer_balance).unwrap_or(u64::MAX)));
    let whole = now.treasury_balance.min(now.treasury_allowance) / UNIT;
    gauge!("fiatrails_treasury_balance").set(float(u64::try_from(whole).unwrap_or(u64::MAX)));
}

pub fn backlog(items: &[(String, u64)], open_attempts: u64) {
    for command in WorkCommand::ALL {
        let open = items
            .iter()
            .find(|(name, _)| name == command.name())
            .map_or(0, |(_, count)| *count);
        gauge!("fiatrails_work_items_open", "command" => command.name()).set(float(open));
    }
    gauge!("fiatrails_signer_nonce_gap").set(float(open_attempts));
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Close enough for a gauge: 32 bits exactly, above that the upper half counts.
fn float(value: u64) -> f64 {
    let (high, low) = (value >> 32, value & u64::from(u32::MAX));
    let part = |half: u64| f64::from(u32::try_from(half).unwrap_or(u32::MAX));
    part(high) * 4_294_967_296.0 + part(low)
}
