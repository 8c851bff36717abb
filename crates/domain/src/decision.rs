//! The decision table: from both legs to one decision (docs/STATES.md). Pure; the callback service acts on it.

use std::str::FromStr;

use strum::VariantArray;

use crate::command::{Command, UnknownCommand};
use crate::intent::{ChainLeg, Finality, PaymentLeg};

/// The live command of a decision row: at most one at a time.
/// A deposit is commanded when its intent is accepted, before there is a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, VariantArray)]
pub enum LiveCommand {
    Execute,
    Refund,
}

impl LiveCommand {
    pub const ALL: [Self; Self::VARIANTS.len()] = crate::variants();

    pub const fn command(self) -> Command {
        match self {
            Self::Execute => Command::Execute,
            Self::Refund => Command::Refund,
        }
    }

    pub const fn name(self) -> &'static str {
        self.command().name()
    }
}

impl FromStr for LiveCommand {
    type Err = UnknownCommand;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        match name.parse()? {
            Command::Execute => Ok(Self::Execute),
            Command::Refund => Ok(Self::Refund),
            Command::Submit => Err(UnknownCommand),
        }
    }
}

/// The input of the decision, read under the decision lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecisionFacts {
    /// The callback service's copy of the chain leg, written from `mint.outcome` only.
    pub chain_leg: ChainLeg,
    pub payment_leg: PaymentLeg,
    /// The contract refused the mint: the user is not compliant.
    pub mint_refused: bool,
    /// An open exception stops every command until a person resolves it.
    pub is_held: bool,
    /// A deposit was signed and no refund was commanded yet, so the result of the deposit must be awaited.
    pub deposit_attempted: bool,
    /// A person has ended the hold for a payment of another amount.
    pub mismatch_resolved: bool,
    pub live_command: Option<LiveCommand>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Wait,
    /// Send `mint.refund`: the executor drops the intent if no attempt exists, else refunds once escrowed.
    Drop,
    Execute,
    Refund,
    Hold,
    Done,
    /// The deposit went back, or never came, but the payer paid: exception `owed_to_payer`.
    OwedToPayer,
    /// Minted without a confirmed payment: page a person and halt executes.
    MintWithoutPayment,
}

/// The decision table of docs/STATES.md.
pub fn decide(facts: DecisionFacts) -> Decision {
    let paid = matches!(facts.payment_leg, PaymentLeg::Confirmed | PaymentLeg::Mismatched);
    match facts.chain_leg {
        ChainLeg::Queued | ChainLeg::Submitting => before_escrow(facts),
        ChainLeg::Escrowed => escrowed(facts),
        ChainLeg::Executing | ChainLeg::Refunding | ChainLeg::Refunded(Finality::Mined) => Decision::Wait,
        ChainLeg::Executed(_) if facts.payment_leg == PaymentLeg::Confirmed => Decision::Done,
        ChainLeg::Executed(_) => Decision::MintWithoutPayment,
        ChainLeg::Refunded(Finality::Final) | ChainLeg::Rejected | ChainLeg::Dropped if paid => {
            Decision::OwedToPayer
        }
        ChainLeg::Refunded(Finality::Final) | ChainLeg::Rejected | ChainLeg::Dropped => Decision::Done,
    }
}

fn before_escrow(facts: DecisionFacts) -> Decision {
    let ended = matches!(facts.payment_leg, PaymentLeg::Declined | PaymentLeg::Expired);
    if ended && !facts.deposit_attempted && facts.live_command.is_none() && !facts.is_held {
        Decision::Drop
    } else {
        Decision::Wait
    }
}

fn escrowed(facts: DecisionFacts) -> Decision {
    if facts.is_held {
        return Decision::Hold;
    }
    if facts.live_command == Some(LiveCommand::Refund)
        || (facts.live_command == Some(LiveCommand::Execute) && !facts.mint_refused)
    {
        return Decision::Wait;
    }
    match facts.payment_leg {
        PaymentLeg::Awaiting => Decision::Wait,
        PaymentLeg::Mismatched if facts.mismatch_resolved => Decision::Refund,
        PaymentLeg::Mismatched => Decision::Hold,
        PaymentLeg::Declined | PaymentLeg::Expired => Decision::Refund,
        PaymentLeg::Confirmed if facts.mint_refused => Decision::Refund,
        PaymentLeg::Confirmed => Decision::Execute,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Decision::{Done, Drop, Execute, Hold, MintWithoutPayment, OwedToPayer, Refund, Wait};

    fn facts(chain: ChainLeg, payment: PaymentLeg) -> DecisionFacts {
        DecisionFacts {
            chain_leg: chain,
            payment_leg: payment,
            mint_refused: false,
            is_held: false,
            deposit_attempted: false,
            mismatch_resolved: false,
            live_command: None,
        }
    }

    #[test]
    fn stored_commands_parse_back() {
        let commands = [Command::Execute, Command::Refund];
        assert_eq!(LiveCommand::ALL.map(LiveCommand::command), commands);
        for (live, stored) in LiveCommand::ALL.into_iter().zip(["execute", "refund"]) {
            assert_eq!(live.name(), stored);
            assert_eq!(stored.parse(), Ok(live));
        }
        for never_live in ["submit", "drop"] {
            assert_eq!(never_live.parse::<LiveCommand>(), Err(UnknownCommand));
        }
    }

    #[test]
    fn the_decision_table_cell_by_cell() {
        let mined = Finality::Mined;
        // Columns: awaiting, confirmed, declined, mismatched, expired.
        let table = [
            (ChainLeg::Queued, [Wait, Wait, Drop, Wait, Drop]),
            (ChainLeg::Submitting, [Wait, Wait, Drop, Wait, Drop]),
            (ChainLeg::Escrowed, [Wait, Execute, Refund, Hold, Refund]),
            (ChainLeg::Executing, [Wait; 5]),
            (ChainLeg::Refunding, [Wait; 5]),
            (
                ChainLeg::Executed(mined),
                [
                    MintWithoutPayment,
                    Done,
                    MintWithoutPayment,
                    MintWithoutPayment,
                    MintWithoutPayment,
                ],
            ),
            (
                ChainLeg::Executed(Finality::Final),
                [
                    MintWithoutPayment,
                    Done,
                    MintWithoutPayment,
                    MintWithoutPayment,
                    MintWithoutPayment,
                ],
            ),
            (ChainLeg::Refunded(mined), [Wait; 5]),
            (
                ChainLeg::Refunded(Finality::Final),
                [Done, OwedToPayer, Done, OwedToPayer, Done],
            ),
            (ChainLeg::Rejected, [Done, OwedToPayer, Done, OwedToPayer, Done]),
            (ChainLeg::Dropped, [Done, OwedToPayer, Done, OwedToPayer, Done]),
        ];
        for (chain, row) in table {
            for (payment, expected) in PaymentLeg::ALL.into_iter().zip(row) {
                assert_eq!(decide(facts(chain, payment)), expected, "{chain} x {payment}");
            }
        }
        assert_eq!(table.len(), ChainLeg::ALL.len());
    }

    #[test]
    fn an_attempted_deposit_is_not_dropped_and_nothing_else_changes() {
        for chain in ChainLeg::ALL {
            for payment in PaymentLeg::ALL {
                let without = decide(facts(chain, payment));
                let attempted = decide(DecisionFacts {
                    deposit_attempted: true,
                    ..facts(chain, payment)
                });
                let expected = if without == Drop { Wait } else { without };
                assert_eq!(attempted, expected, "{chain} x {payment}");
            }
        }
    }

    #[test]
    fn one_live_command_at_a_time() {
        let base = facts(ChainLeg::Escrowed, PaymentLeg::Confirmed);
        assert_eq!(
            decide(DecisionFacts {
                live_command: Some(LiveCommand::Execute),
                ..base
            }),
            Wait
        );
        assert_eq!(
            decide(DecisionFacts {
                live_command: Some(LiveCommand::Refund),
                ..base
            }),
            Wait
        );
        let late = facts(ChainLeg::Escrowed, PaymentLeg::Declined);
        assert_eq!(
            decide(DecisionFacts {
                live_command: Some(LiveCommand::Refund),
                ..late
            }),
            Wait
        );
    }

    #[test]
    fn a_refused_user_is_refunded_never_minted() {
        let base = DecisionFacts {
            mint_refused: true,
            ..facts(ChainLeg::Escrowed, PaymentLeg::Confirmed)
        };
        assert_eq!(decide(base), Refund);
        assert_eq!(
            decide(DecisionFacts {
                live_command: Some(LiveCommand::Execute),
                ..base
            }),
            Refund
        );
        assert_eq!(
            decide(DecisionFacts {
                live_command: Some(LiveCommand::Refund),
                ..base
            }),
            Wait
        );
    }

    #[test]
    fn a_hold_stops_every_command() {
        for payment in PaymentLeg::ALL {
            for chain in [ChainLeg::Queued, ChainLeg::Submitting, ChainLeg::Escrowed] {
                let step = decide(DecisionFacts {
                    is_held: true,
                    ..facts(chain, payment)
                });
                assert!(matches!(step, Wait | Hold), "{chain} x {payment}: {step:?}");
            }
        }
    }

    #[test]
    fn a_resolved_mismatch_refunds_an_escrowed_deposit_and_nothing_else() {
        for chain in ChainLeg::ALL {
            for payment in PaymentLeg::ALL {
                let without = facts(chain, payment);
                let resolved = decide(DecisionFacts {
                    mismatch_resolved: true,
                    ..without
                });
                if (chain, payment) == (ChainLeg::Escrowed, PaymentLeg::Mismatched) {
                    assert_eq!(resolved, Refund);
                } else {
                    assert_eq!(resolved, decide(without), "{chain} x {payment}");
                }
            }
        }
        let held = DecisionFacts {
            mismatch_resolved: true,
            is_held: true,
            ..facts(ChainLeg::Escrowed, PaymentLeg::Mismatched)
        };
        assert_eq!(decide(held), Hold, "another hold still holds");
        let commanded = DecisionFacts {
            is_held: false,
            live_command: Some(LiveCommand::Refund),
            ..held
        };
        assert_eq!(decide(commanded), Wait);
    }

    #[test]
    fn only_a_confirmed_payment_of_an_escrowed_intent_executes() {
        for chain in ChainLeg::ALL {
            for payment in PaymentLeg::ALL {
                for mismatch_resolved in [false, true] {
                    let executes = decide(DecisionFacts {
                        mismatch_resolved,
                        ..facts(chain, payment)
                    }) == Execute;
                    assert_eq!(
                        executes,
                        chain == ChainLeg::Escrowed && payment == PaymentLeg::Confirmed
                    );
                }
            }
        }
    }
}
