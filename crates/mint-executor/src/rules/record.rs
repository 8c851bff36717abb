//! What the escrow holds of an intent, and the leg that corresponds to it.

use chain::query::IntentStatus;
use domain::intent::{ChainLeg, Finality};

/// The escrow's record of an intent at the block in question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnChainRecord {
    /// The record was not read: the log implies it, or the node no longer has the state.
    NotRead,
    Absent,
    Present(IntentStatus),
}

/// The leg that an escrow record implies.
pub const fn leg_for_record(record: OnChainRecord) -> Option<ChainLeg> {
    match record {
        OnChainRecord::NotRead => None,
        OnChainRecord::Absent => Some(ChainLeg::Submitting),
        OnChainRecord::Present(IntentStatus::Pending) => Some(ChainLeg::Escrowed),
        OnChainRecord::Present(IntentStatus::Executed) => Some(ChainLeg::Executed(Finality::Mined)),
        OnChainRecord::Present(IntentStatus::Refunded) => Some(ChainLeg::Refunded(Finality::Mined)),
        // The contract reserves this status and never writes it.
        OnChainRecord::Present(IntentStatus::Failed) => Some(ChainLeg::Rejected),
    }
}

/// The escrow record that a leg implies once every log up to a block is applied: the inverse of [`leg_for_record`].
pub const fn record_for_leg(leg: ChainLeg) -> OnChainRecord {
    match leg {
        ChainLeg::Queued | ChainLeg::Submitting | ChainLeg::Rejected | ChainLeg::Dropped => {
            OnChainRecord::Absent
        }
        ChainLeg::Escrowed | ChainLeg::Executing | ChainLeg::Refunding => {
            OnChainRecord::Present(IntentStatus::Pending)
        }
        ChainLeg::Executed(_) => OnChainRecord::Present(IntentStatus::Executed),
        ChainLeg::Refunded(_) => OnChainRecord::Present(IntentStatus::Refunded),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn legs_and_escrow_records_map_to_each_other() {
        use IntentStatus::{Executed, Pending, Refunded};
        for record in [OnChainRecord::Absent]
            .into_iter()
            .chain([Pending, Executed, Refunded].map(OnChainRecord::Present))
        {
            assert_eq!(leg_for_record(record).map(record_for_leg), Some(record));
        }
        for leg in ChainLeg::ALL {
            let expected = match leg.name() {
                "executing" | "refunding" => "escrowed",
                "queued" | "rejected" | "dropped" => "submitting",
                same => same,
            };
            assert_eq!(
                leg_for_record(record_for_leg(leg)).map(ChainLeg::name),
                Some(expected)
            );
        }
    }
}
