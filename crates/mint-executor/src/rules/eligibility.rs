//! Whether a command goes into the next batch.

use domain::command::Command;
use domain::intent::ChainLeg;

/// What becomes of a command while its intent is at a given leg.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eligibility {
    /// It goes into the next batch.
    Ready,
    /// It waits in its row.
    NotYet,
    /// Nothing was sent, or nothing more may be: the intent is dropped unless the chain knows it.
    Cancel,
    /// The command has nothing left to do.
    AlreadyDone,
}

/// `expired` means that the payment window is over, so nothing may be deposited any more.
pub fn eligibility(command: Command, leg: ChainLeg, expired: bool) -> Eligibility {
    use ChainLeg as L;
    match (command, leg) {
        (Command::Submit, L::Queued | L::Submitting) if expired => Eligibility::Cancel,
        (Command::Refund, L::Queued) => Eligibility::Cancel,
        (Command::Submit, L::Queued | L::Submitting) | (Command::Execute | Command::Refund, L::Escrowed) => {
            Eligibility::Ready
        }
        (Command::Execute, L::Queued | L::Submitting) | (Command::Refund, L::Submitting | L::Executing) => {
            Eligibility::NotYet
        }
        _ => Eligibility::AlreadyDone,
    }
}

/// Legs at which items of a command wait, so that queries leave them out.
pub fn waiting_legs(command: Command) -> Vec<ChainLeg> {
    ChainLeg::ALL
        .into_iter()
        .filter(|leg| eligibility(command, *leg, false) == Eligibility::NotYet)
        .collect()
}

#[cfg(test)]
mod tests {
    use domain::intent::Finality;

    use super::*;
    use Command::{Execute, Refund, Submit};

    #[test]
    fn each_command_is_eligible_at_its_own_legs() {
        use ChainLeg as L;
        use Eligibility::{AlreadyDone, Cancel, NotYet, Ready};
        let mined = Finality::Mined;
        // Columns: submit, submit after the window, execute, refund.
        let table = [
            (L::Queued, [Ready, Cancel, NotYet, Cancel]),
            (L::Submitting, [Ready, Cancel, NotYet, NotYet]),
            (L::Escrowed, [AlreadyDone, AlreadyDone, Ready, Ready]),
            (L::Executing, [AlreadyDone, AlreadyDone, AlreadyDone, NotYet]),
            (L::Executed(mined), [AlreadyDone; 4]),
            (L::Executed(Finality::Final), [AlreadyDone; 4]),
            (L::Refunding, [AlreadyDone; 4]),
            (L::Refunded(mined), [AlreadyDone; 4]),
            (L::Refunded(Finality::Final), [AlreadyDone; 4]),
            (L::Rejected, [AlreadyDone; 4]),
            (L::Dropped, [AlreadyDone; 4]),
        ];
        assert_eq!(table.map(|(leg, _)| leg), ChainLeg::ALL);
        for (leg, row) in table {
            let found = [
                eligibility(Submit, leg, false),
                eligibility(Submit, leg, true),
                eligibility(Execute, leg, false),
                eligibility(Refund, leg, false),
            ];
            assert_eq!(found, row, "{leg}");
        }
        assert_eq!(waiting_legs(Execute), [L::Queued, L::Submitting]);
        assert_eq!(waiting_legs(Refund), [L::Submitting, L::Executing]);
        assert!(waiting_legs(Submit).is_empty());
    }
}
