//! No signature relies on a row alone: the sealed command stored with a work item is opened again whenever a call is
//! built from it, and for a mint the M-Pesa MAC must verify at that moment.

use domain::address::Address;
use domain::command::Command;
use domain::evidence::EvidenceError;
use domain::ids::Preimage;
use messaging::wire::{MintExecute, MintRefund, MintSubmit, RefundReason};
use messaging::{OpenError, OpenedMessage, Opener};
use runtime::KeyDirectory;
use storage::executor::items::WorkItemRow;

use crate::rules::queue::queue_of;

/// A command whose seal, evidence and deployment were verified just now.
#[derive(Clone, Debug)]
pub struct VerifiedCommand {
    pub intent: Preimage,
    pub details: CommandDetails,
    /// W3C trace context of the command, which is not verified.
    pub traceparent: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandDetails {
    /// Unix seconds at which the gateway accepted the request.
    Submit {
        accepted_at: i64,
    },
    Execute,
    Refund {
        reason: RefundReason,
    },
}

/// Why no call may be built from an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ineligible {
    /// A key is not mounted here (yet): the item waits and uses up no attempt.
    Wait(String),
    Park {
        class: &'static str,
        text: String,
    },
}

impl Ineligible {
    fn park(class: &'static str, text: impl Into<String>) -> Self {
        Self::Park {
            class,
            text: text.into(),
        }
    }
}

#[derive(Clone, Debug)]
pub struct Verifier {
    pub opener: Opener,
    pub keys: KeyDirectory,
    pub chain_id: u64,
    pub escrow: Address,
}

/// The sealed message is the one that the row names.
fn is_of_message(opened: &OpenedMessage, item: &WorkItemRow) -> bool {
    opened.message_id() == item.message_id
}

/// The sealed intent is the one that the row names.
fn is_of_intent(intent: &Preimage, item: &WorkItemRow) -> bool {
    intent.intent_id() == item.intent_id
}

impl Verifier {
    /// Opens the stored envelope and checks everything that a call requires.
    pub fn verify(&self, item: &WorkItemRow) -> Result<VerifiedCommand, Ineligible> {
        let opened = self.opener.open(queue_of(item.command), &item.envelope)?;
        if !is_of_message(&opened, item) {
            return Err(Ineligible::park(
                "row_tampered",
                "the row's message id is not the sealed one",
            ));
        }
        let traceparent = opened.hints().traceparent.clone();
        let (intent, details) = match item.command {
            Command::Submit => {
                let body: MintSubmit = opened.body()?;
                let accepted_at = body.accepted_at;
                (body.intent, CommandDetails::Submit { accepted_at })
            }
            Command::Execute => {
                let body: MintExecute = opened.body()?;
                body.report.pays_for(&body.intent, &self.keys.current().mpesa)?;
                (body.intent, CommandDetails::Execute)
            }
            Command::Refund => {
                let body: MintRefund = opened.body()?;
                (body.intent, CommandDetails::Refund { reason: body.reason })
            }
        };
        if !is_of_intent(&intent, item) {
            return Err(Ineligible::park(
                "row_tampered",
                "the row's intent id is not the sealed one",
            ));
        }
        self.check_deployment(&intent)?;
        Ok(VerifiedCommand {
            intent,
            details,
            traceparent,
        })
    }

    /// Checks that the intent names this chain and this escrow.
    pub fn check_deployment(&self, intent: &Preimage) -> Result<(), Ineligible> {
        if intent.chain_id != self.chain_id || intent.escrow != self.escrow {
            return Err(Ineligible::park(
                "other_deployment",
                "the intent names another chain or escrow",
            ));
        }
        Ok(())
    }
}

impl From<OpenError> for Ineligible {
    fn from(error: OpenError) -> Self {
        let text = error.to_string();
        match error {
            OpenError::UnknownKid { .. } => Self::Wait(text),
            OpenError::SealInvalid => Self::park("seal_invalid", text),
            OpenError::Malformed(_) => Self::park("malformed", text),
        }
    }
}

impl From<EvidenceError> for Ineligible {
    fn from(error: EvidenceError) -> Self {
        let text = error.to_string();
        match error {
            EvidenceError::UnknownKey(_) => Self::Wait(text),
            EvidenceError::Tampered => Self::park("report_tampered", text),
            EvidenceError::Unparsable(_) => Self::park("report_unparsable", text),
            EvidenceError::OtherTxRef => Self::park("report_other_tx_ref", text),
            EvidenceError::NotPaid => Self::park("report_not_paid", text),
            EvidenceError::OtherAmount | EvidenceError::Amount(_) => Self::park("report_other_amount", text),
        }
    }
}
