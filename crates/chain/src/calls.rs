//! Calldata of the three batch commands, written and read back.

use domain::command::Command;
use domain::ids::{IntentId, Preimage};
use ethers::abi::{AbiDecode, AbiEncode};
use ethers::types::U256;

use crate::bindings::mint_escrow::{ExecuteMintsCall, RefundIntentsCall, SubmitIntentsCall, SubmitItem};
use crate::convert::to_h160;

/// `submitIntents`: each item carries the id its other fields must hash to.
pub fn submit_intents<'a>(intents: impl IntoIterator<Item = &'a Preimage>) -> Vec<u8> {
    let items = intents.into_iter().map(submit_item).collect();
    SubmitIntentsCall { items }.encode()
}

fn submit_item(intent: &Preimage) -> SubmitItem {
    SubmitItem {
        expected_id: *intent.intent_id().as_bytes(),
        depositor: to_h160(&intent.depositor),
        user: to_h160(&intent.user),
        amount: U256::from(intent.amount.get()),
        country_code: intent.country_code.to_word(),
        tx_ref: intent.tx_ref.to_word(),
    }
}

pub fn execute_mints(ids: impl IntoIterator<Item = IntentId>) -> Vec<u8> {
    ExecuteMintsCall {
        intent_ids: words(ids),
    }
    .encode()
}

pub fn refund_intents(ids: impl IntoIterator<Item = IntentId>, reason: &str) -> Vec<u8> {
    RefundIntentsCall {
        intent_ids: words(ids),
        reason: reason.to_owned(),
    }
    .encode()
}

fn words(ids: impl IntoIterator<Item = IntentId>) -> Vec<[u8; 32]> {
    ids.into_iter().map(|id| *id.as_bytes()).collect()
}

/// The command and the intents in stored calldata; `None` when the escrow has no such call.
pub fn decode_call(data: &[u8]) -> Option<(Command, Vec<IntentId>)> {
    let ids = |words: Vec<[u8; 32]>| words.into_iter().map(IntentId::from_bytes).collect();
    if let Ok(call) = SubmitIntentsCall::decode(data) {
        let words = call.items.into_iter().map(|item| item.expected_id).collect();
        return Some((Command::Submit, ids(words)));
    }
    if let Ok(call) = ExecuteMintsCall::decode(data) {
        return Some((Command::Execute, ids(call.intent_ids)));
    }
    let call = RefundIntentsCall::decode(data).ok()?;
    Some((Command::Refund, ids(call.intent_ids)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::country::CountryCode;

    #[test]
    fn calldata_decodes_to_what_was_encoded() {
        let intent = Preimage {
            chain_id: 31430,
            escrow: "0x5FbDB2315678afecb367f032d93F642f64180aa3".parse().unwrap(),
            depositor: "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65".parse().unwrap(),
            user: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse().unwrap(),
            amount: "150000000000000000000".parse().unwrap(),
            country_code: CountryCode::KES,
            tx_ref: "TX0000000001".parse().unwrap(),
        };
        let id = intent.intent_id();
        assert_eq!(
            decode_call(&submit_intents([&intent])),
            Some((Command::Submit, vec![id]))
        );
        assert_eq!(
            decode_call(&execute_mints([id, id])),
            Some((Command::Execute, vec![id, id]))
        );
        assert_eq!(
            decode_call(&refund_intents([id], "declined")),
            Some((Command::Refund, vec![id]))
        );
        assert_eq!(decode_call(b""), None);
        assert_eq!(decode_call(&[0; 36]), None);
    }
}
