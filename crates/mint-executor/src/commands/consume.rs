//! Takes commands from their queues: stores inbox row, leg and work item in one transaction, then acknowledges.

use std::collections::HashSet;

use domain::command::Command;
use domain::ids::{MessageId, Preimage};
use messaging::wire::{Body, MintExecute, MintRefund, MintSubmit};
use messaging::{Delivery, Disposition};
use storage::executor::items::{self, NewWorkItem};
use storage::executor::legs;
use storage::{Inbox, Pool, StorageError};
use tracing::Span;

use crate::observe;
use crate::rules::queue::queue_of;
use crate::state::{Gates, SignerHandles};
use crate::work_items::{Ineligible, Verifier};

/// The body of a command about one intent.
pub trait CommandBody: Body {
    const COMMAND: Command;

    fn intent(&self) -> &Preimage;
}

impl CommandBody for MintSubmit {
    const COMMAND: Command = Command::Submit;

    fn intent(&self) -> &Preimage {
        &self.intent
    }
}

impl CommandBody for MintExecute {
    const COMMAND: Command = Command::Execute;

    fn intent(&self) -> &Preimage {
        &self.intent
    }
}

impl CommandBody for MintRefund {
    const COMMAND: Command = Command::Refund;

    fn intent(&self) -> &Preimage {
        &self.intent
    }
}

/// Takes commands in.
#[derive(Clone, Debug)]
pub struct Intake {
    pub pool: Pool,
    pub verifier: Verifier,
    pub gates: Gates,
    pub signers: SignerHandles,
}

impl Intake {
    /// Stores one batch of deliveries; returns a disposition for each.
    pub async fn consume<B: CommandBody>(&self, deliveries: Vec<Delivery<B>>) -> Vec<Disposition> {
        let foreign: Vec<Option<Disposition>> =
            deliveries.iter().map(|delivery| self.refuse(delivery)).collect();
        let ours: Vec<&Delivery<B>> = deliveries
            .iter()
            .zip(&foreign)
            .filter(|(_, no)| no.is_none())
            .map(|(delivery, _)| delivery)
            .collect();
        // The spans last until the commit.
        let spans: Vec<Span> = ours
            .iter()
            .map(|delivery| {
                let of_delivery = delivery.traceparent.as_deref();
                observe::consume_span(
                    B::COMMAND,
                    delivery.body.intent(),
                    delivery.message_id,
                    of_delivery,
                )
            })
            .collect();
        let stored = match self.store(&ours).await {
            Ok(()) => {
                self.gates.database().success();
                self.signers.wake();
                Disposition::Done
            }
            Err(error) => {
                observe::commands_not_stored(B::COMMAND, &error);
                self.gates.database().failure("commands cannot be stored");
                Disposition::Return
            }
        };
        drop(spans);
        foreign
            .into_iter()
            .map(|no| no.unwrap_or_else(|| stored.clone()))
            .collect()
    }

    fn refuse<B: CommandBody>(&self, delivery: &Delivery<B>) -> Option<Disposition> {
        match self.verifier.check_deployment(delivery.body.intent()) {
            Err(Ineligible::Park { class, text }) => Some(Disposition::park(class, text)),
            Err(Ineligible::Wait(_)) | Ok(()) => None,
        }
    }

    async fn store<B: CommandBody>(&self, deliveries: &[&Delivery<B>]) -> Result<(), StorageError> {
        if deliveries.is_empty() {
            return Ok(());
        }
        let mut client = self.pool.get().await?;
        let tx = client.begin().await?;
        let ids: Vec<_> = deliveries.iter().map(|delivery| delivery.message_id).collect();
        let new = Inbox::Executor
            .insert_new(&tx, queue_of(B::COMMAND).name(), &ids)
            .await?;
        let fresh: Vec<_> = deliveries
            .iter()
            .filter(|delivery| is_new(&new, delivery.message_id))
            .collect();
        let intents: Vec<(&Preimage, Option<&str>)> = fresh
            .iter()
            .map(|delivery| (delivery.body.intent(), delivery.traceparent.as_deref()))
            .collect();
        legs::ensure(&tx, &intents).await?;
        let rows: Vec<NewWorkItem> = fresh
            .iter()
            .map(|delivery| NewWorkItem {
                message_id: delivery.message_id,
                intent_id: delivery.body.intent().intent_id(),
                envelope: delivery.sealed.clone(),
            })
            .collect();
        items::insert(&tx, B::COMMAND, &rows).await?;
        tx.commit().await?;
        observe::commands_stored(B::COMMAND, rows.len());
        Ok(())
    }
}

/// The inbox had not seen the command.
fn is_new(new: &HashSet<MessageId>, command: MessageId) -> bool {
    new.contains(&command)
}
