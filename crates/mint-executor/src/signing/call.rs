//! The one call of the escrow that a batch is.

use chain::calls;
use chain::fees::{FeeAboveCap, FeePolicy};
use chain::query::BlockHeader;
use chain::transaction::EvmTransaction;
use domain::address::Address;
use domain::command::Command;
use domain::ids::{IntentId, MessageId, Preimage};

use super::plan::BatchMember;
use crate::rules::batching;
use crate::work_items::{CommandDetails, VerifiedCommand};

/// The transaction of a batch, and the items in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchCall {
    pub transaction: EvmTransaction,
    pub members: Vec<(MessageId, IntentId)>,
}

/// Where calls go and what they may cost.
#[derive(Clone, Copy, Debug)]
pub struct CallBuilder {
    pub chain_id: u64,
    pub escrow: Address,
    pub fees: FeePolicy,
}

impl CallBuilder {
    /// `None` without members.
    pub fn call(
        &self,
        command: Command,
        head: &BlockHeader,
        nonce: u64,
        members: &[BatchMember],
    ) -> Result<Option<BatchCall>, FeeAboveCap> {
        let Some(data) = calldata(members.iter().map(|(_, member)| member)) else {
            return Ok(None);
        };
        let gas_limit = batching::gas_limit(command, members.len());
        let transaction = EvmTransaction {
            chain_id: self.chain_id,
            nonce,
            to: self.escrow,
            gas_limit,
            fees: self.fees.market_fees(head.base_fee, gas_limit)?,
            data,
        };
        let members = members
            .iter()
            .map(|(id, member)| (*id, member.intent.intent_id()))
            .collect();
        Ok(Some(BatchCall { transaction, members }))
    }
}

/// `None` without members.
pub fn calldata<'a>(mut members: impl Iterator<Item = &'a VerifiedCommand> + Clone) -> Option<Vec<u8>> {
    let intents = members.clone().map(|member| &member.intent);
    Some(match members.next()?.details {
        CommandDetails::Submit { .. } => calls::submit_intents(intents),
        CommandDetails::Execute => calls::execute_mints(intents.map(Preimage::intent_id)),
        CommandDetails::Refund { reason } => {
            calls::refund_intents(intents.map(Preimage::intent_id), reason.as_str())
        }
    })
}
