//! Whether what a breaker waits for is there again.

use chain::inspect::{EscrowStatus, SignerStatus};
use domain::command::Command;

/// Whether a signer can send anything now.
pub fn can_sign(now: &SignerStatus, min_gas: u128) -> Result<(), String> {
    if now.balance < min_gas {
        return Err("the signer has too little gas".to_owned());
    }
    if !now.may_execute {
        return Err("the signer lacks EXECUTOR_ROLE".to_owned());
    }
    Ok(())
}

/// Whether its allowance covers a mint now.
pub fn can_mint(now: &SignerStatus, needed: u128) -> Result<(), String> {
    if now.mint_available < needed.max(1) {
        return Err("the hourly mint limit is used up".to_owned());
    }
    Ok(())
}

/// Whether a command can succeed now, whichever signer sends it.
pub fn can_succeed(command: Command, now: &EscrowStatus, needed: u128) -> Result<(), String> {
    let no = |what: &str| Err(what.to_owned());
    if now.escrow_paused {
        return no("the escrow is paused");
    }
    let needed = needed.max(1);
    match command {
        Command::Submit if now.treasury_balance < needed => no("the treasury has too little"),
        Command::Submit if now.treasury_allowance < needed => no("the treasury allows too little"),
        Command::Execute if now.token_paused => no("the country token is paused"),
        Command::Execute if now.compliance_paused == Some(true) => no("compliance is paused"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Command::{Execute, Refund, Submit};

    #[test]
    fn a_signer_needs_gas_and_role_to_sign_and_an_allowance_to_mint() {
        let well = SignerStatus {
            balance: 10,
            may_execute: true,
            mint_available: 50,
        };
        // Columns: signs at all, mints.
        let table = [
            (well, [true, true]),
            (SignerStatus { balance: 9, ..well }, [false, true]),
            (
                SignerStatus {
                    may_execute: false,
                    ..well
                },
                [false, true],
            ),
            (
                SignerStatus {
                    mint_available: 49,
                    ..well
                },
                [true, false],
            ),
        ];
        for (status, expected) in table {
            let found = [can_sign(&status, 10).is_ok(), can_mint(&status, 50).is_ok()];
            assert_eq!(found, expected, "{status:?}");
        }
    }

    const ALL_GOOD: EscrowStatus = EscrowStatus {
        escrow_paused: false,
        token_paused: false,
        compliance_paused: Some(false),
        treasury_balance: 100,
        treasury_allowance: 100,
    };

    #[test]
    fn each_condition_blocks_its_own_commands() {
        // Columns: submit, execute, refund.
        let table = [
            (ALL_GOOD, [true, true, true]),
            (
                EscrowStatus {
                    escrow_paused: true,
                    ..ALL_GOOD
                },
                [false, false, false],
            ),
            (
                EscrowStatus {
                    treasury_balance: 49,
                    ..ALL_GOOD
                },
                [false, true, true],
            ),
            (
                EscrowStatus {
                    treasury_allowance: 49,
                    ..ALL_GOOD
                },
                [false, true, true],
            ),
            (
                EscrowStatus {
                    token_paused: true,
                    ..ALL_GOOD
                },
                [true, false, true],
            ),
            (
                EscrowStatus {
                    compliance_paused: Some(true),
                    ..ALL_GOOD
                },
                [true, false, true],
            ),
            (
                EscrowStatus {
                    compliance_paused: None,
                    ..ALL_GOOD
                },
                [true, true, true],
            ),
        ];
        for (condition, expected) in table {
            let found = [Submit, Execute, Refund].map(|command| can_succeed(command, &condition, 50).is_ok());
            assert_eq!(found, expected, "{condition:?}");
        }
    }
}
