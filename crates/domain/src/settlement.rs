//! What settles a command, so that nothing is left to do for it: the escrow's record of the intent, or the intent's leg.

use strum::VariantArray;

use crate::command::Command;
use crate::intent::ChainLeg;

/// The status in the escrow's record of an intent, in the order of the contract's enum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, VariantArray)]
pub enum IntentStatus {
    Pending,
    Executed,
    Refunded,
    /// The contract reserves it and never writes it.
    Failed,
}

impl IntentStatus {
    pub const ALL: [Self; Self::VARIANTS.len()] = crate::variants();
}

impl Command {
    /// A deposit is settled by any record; a pay-out by either pay-out, because an intent pays once.
    pub const fn is_settled_by(self, status: IntentStatus) -> bool {
        match self {
            Self::Submit => true,
            Self::Execute | Self::Refund => {
                matches!(status, IntentStatus::Executed | IntentStatus::Refunded)
            }
        }
    }
}

impl ChainLeg {
    /// Every command of the intent is settled, unless a fork takes the block back; `is_terminal` says that none can.
    pub const fn is_settled(self) -> bool {
        matches!(
            self,
            Self::Executed(_) | Self::Refunded(_) | Self::Rejected | Self::Dropped
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intent::Finality;

    #[test]
    fn each_command_is_settled_by_its_own_records() {
        use IntentStatus as S;
        // Columns: submit, execute, refund.
        let table = [
            (S::Pending, [true, false, false]),
            (S::Executed, [true, true, true]),
            (S::Refunded, [true, true, true]),
            (S::Failed, [true, false, false]),
        ];
        assert_eq!(table.map(|(status, _)| status), S::ALL);
        for (status, expected) in table {
            let found = Command::ALL.map(|command| command.is_settled_by(status));
            assert_eq!(found, expected, "{status:?}");
        }
    }

    #[test]
    fn a_mined_pay_out_is_settled_before_it_is_terminal() {
        for leg in ChainLeg::ALL {
            let mined = [ChainLeg::Executed, ChainLeg::Refunded].map(|leg| leg(Finality::Mined));
            let expected = leg.is_terminal() || mined.contains(&leg);
            assert_eq!(leg.is_settled(), expected, "{leg:?}");
        }
    }
}
