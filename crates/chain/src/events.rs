//! The escrow's logs, decoded into enums of ours.

use domain::address::Address;
use domain::command::Command;
use domain::ids::IntentId;
use domain::item_result::ItemOutcome;
use domain::money::BaseUnits;
use ethers::abi::RawLog;
use ethers::contract::EthLogDecode;
use ethers::types::Log;
use strum::IntoStaticStr;

use crate::bindings::MintEscrowEvents;
use crate::convert::{from_h160, to_u64, to_u128, tx_hash};
use crate::hash::TxHash;

/// The command with that position in the contract's enum.
fn command_of(code: u8) -> Option<Command> {
    Command::ALL.get(usize::from(code)).copied()
}

/// One log of the escrow; logs that concern no intent are `Other`.
#[derive(Clone, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(const_into_str, serialize_all = "snake_case")]
pub enum EscrowEvent {
    /// A deposit is locked.
    Submitted {
        intent_id: IntentId,
        user: Address,
        amount: BaseUnits,
        country_code: [u8; 32],
        tx_ref: [u8; 32],
    },
    /// Country tokens were minted.
    Executed {
        intent_id: IntentId,
        user: Address,
        amount: BaseUnits,
    },
    /// The deposit went back.
    Refunded {
        intent_id: IntentId,
        user: Address,
        amount: BaseUnits,
        reason: String,
    },
    /// The escrow skipped an item of a batch.
    Skipped {
        intent_id: IntentId,
        command: Option<Command>,
        outcome: ItemOutcome,
        data: Vec<u8>,
    },
    /// The transfer of a refund failed, so the escrow credited the depositor instead.
    Credited {
        intent_id: IntentId,
        depositor: Address,
        amount: BaseUnits,
    },
    /// An administrative event, or one newer than this code.
    Other { topic: [u8; 32] },
}

impl EscrowEvent {
    /// In SQL.
    pub const fn name(&self) -> &'static str {
        self.into_str()
    }

    pub const fn intent_id(&self) -> Option<IntentId> {
        match self {
            Self::Submitted { intent_id, .. }
            | Self::Executed { intent_id, .. }
            | Self::Refunded { intent_id, .. }
            | Self::Skipped { intent_id, .. }
            | Self::Credited { intent_id, .. } => Some(*intent_id),
            Self::Other { .. } => None,
        }
    }
}

/// An event and its position in its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EscrowLog {
    pub tx_hash: TxHash,
    pub log_index: u64,
    pub event: EscrowEvent,
}

/// `None` when the log names no transaction or position: it belongs to no block.
pub(crate) fn decode_log(log: Log) -> Option<EscrowLog> {
    let tx = tx_hash(log.transaction_hash?);
    let log_index = to_u64(log.log_index?)?;
    let topic = log.topics.first().map(|topic| topic.0).unwrap_or_default();
    let raw = RawLog {
        topics: log.topics,
        data: log.data.to_vec(),
    };
    let event = MintEscrowEvents::decode_log(&raw)
        .ok()
        .and_then(typed)
        .unwrap_or(EscrowEvent::Other { topic });
    Some(EscrowLog {
        tx_hash: tx,
        log_index,
        event,
    })
}

fn typed(event: MintEscrowEvents) -> Option<EscrowEvent> {
    let id = IntentId::from_bytes;
    let event = match event {
        MintEscrowEvents::MintIntentSubmittedFilter(e) => EscrowEvent::Submitted {
            intent_id: id(e.intent_id),
            user: from_h160(e.user)?,
            amount: BaseUnits::new(to_u128(e.amount)?),
            country_code: e.country_code,
            tx_ref: e.tx_ref,
        },
        MintEscrowEvents::MintExecutedFilter(e) => EscrowEvent::Executed {
            intent_id: id(e.intent_id),
            user: from_h160(e.user)?,
            amount: BaseUnits::new(to_u128(e.amount)?),
        },
        MintEscrowEvents::MintRefundedFilter(e) => EscrowEvent::Refunded {
            intent_id: id(e.intent_id),
            user: from_h160(e.user)?,
            amount: BaseUnits::new(to_u128(e.amount)?),
            reason: e.reason,
        },
        MintEscrowEvents::ItemSkippedFilter(e) => EscrowEvent::Skipped {
            intent_id: id(e.intent_id),
            command: command_of(e.command),
            outcome: ItemOutcome::from_code(e.outcome),
            data: e.data.to_vec(),
        },
        MintEscrowEvents::DepositCreditedFilter(e) => EscrowEvent::Credited {
            intent_id: id(e.intent_id),
            depositor: from_h160(e.depositor)?,
            amount: BaseUnits::new(to_u128(e.amount)?),
        },
        _ => return None,
    };
    Some(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The position in the Solidity enum is the code on chain.
    #[test]
    fn outcome_and_command_codes_are_those_of_the_contract() {
        let source = include_str!("../../../contracts/src/interfaces/IMintEscrow.sol");
        let members = |name: &str| -> Vec<String> {
            let body = source
                .split_once(&format!("enum {name} {{"))
                .unwrap()
                .1
                .split_once('}')
                .unwrap()
                .0;
            body.split(',').map(|member| member.trim().to_owned()).collect()
        };
        let ours: Vec<_> = ItemOutcome::ALL
            .iter()
            .map(|outcome| format!("{outcome:?}"))
            .collect();
        assert_eq!(members("ItemOutcome"), ours);
        let ours: Vec<_> = Command::ALL
            .iter()
            .map(|command| format!("{command:?}"))
            .collect();
        assert_eq!(members("Command"), ours);
        assert_eq!(command_of(3), None);
    }

    #[test]
    fn a_log_that_does_not_decode_is_kept_as_other() {
        let log = Log {
            topics: vec![ethers::types::H256([9; 32])],
            transaction_hash: Some(ethers::types::H256([1; 32])),
            log_index: Some(3.into()),
            ..Log::default()
        };
        let read = decode_log(log).unwrap();
        assert_eq!(read.event, EscrowEvent::Other { topic: [9; 32] });
        assert_eq!(read.log_index, 3);
    }
}
