//! What became of an item.

use std::time::Duration;

use chain::TxHash;
use domain::command::Command;
use domain::ids::{IntentId, MessageId};
use domain::item_result::{ItemOutcome, ItemResult};
use domain::tx_ref::TxRef;
use runtime::telemetry;

use super::{COMPLIANCE, SETTLED, Stage, stage_completed};

/// What the sealed command of an item says about its time and its trace.
#[derive(Clone, Debug)]
pub struct ItemTiming {
    pub tx_ref: TxRef,
    pub traceparent: Option<String>,
    /// The stage that ends when the item is mined, and how long it took.
    pub stage: Option<(Stage, Duration)>,
}

/// An item whose block was ingested and committed.
#[derive(Debug)]
pub struct SettledItem {
    pub command: Command,
    pub result: ItemResult,
    pub intent_id: IntentId,
    pub message_id: MessageId,
    pub tx_hash: TxHash,
    pub block: u64,
    pub timing: Option<ItemTiming>,
}

pub fn item_settled(item: &SettledItem) {
    let (command, result) = (item.command.name(), item.result.name());
    SETTLED.increment([command, result]);
    if item.command == Command::Execute {
        compliance_checked(item.result);
    }
    let story = item.timing.as_ref();
    let span = tracing::info_span!(
        "executor.mined",
        command,
        result,
        tx_ref = story.map(|story| tracing::field::display(&story.tx_ref)),
        intent_id = %item.intent_id,
        message_id = %item.message_id,
        tx_hash = %item.tx_hash,
        block = item.block,
        trace_id = tracing::field::Empty,
    );
    telemetry::continue_trace(&span, story.and_then(|story| story.traceparent.as_deref()));
    span.in_scope(|| {
        if item.result != ItemResult::Reported(ItemOutcome::Done) {
            tracing::info!("item not done");
            return;
        }
        tracing::info!("item done");
        if let Some((ended, took)) = story.and_then(|story| story.stage) {
            stage_completed(ended, took);
        }
    });
}

/// Counts the compliance check of a mint.
pub fn compliance_checked(result: ItemResult) {
    let result = match result {
        ItemResult::Reported(ItemOutcome::Done) => "compliant",
        ItemResult::Reported(ItemOutcome::NotCompliant) => "not_compliant",
        ItemResult::Reported(ItemOutcome::CompliancePaused) => "paused",
        _ => return,
    };
    COMPLIANCE.increment([result]);
}
