//! One window of messages on one channel: all are sent, then each waits for its confirm.

use std::collections::HashSet;

use futures_util::future::join_all;
use lapin::options::BasicPublishOptions;
use lapin::{Channel, Confirmation, PublisherConfirm};
use tokio::time::{Instant, timeout_at};

use super::error::{PublishError, PublishResult};
use super::outgoing::Outgoing;
use crate::amqp::short_string;
use crate::envelope::MAX_MESSAGE_BYTES;

/// The broker gives back what no queue takes.
const MANDATORY: bool = true;

/// A window before its messages are sent, and after its deadline or the last answer.
pub(super) struct PublishWindow<'a> {
    messages: &'a [Outgoing],
    /// The exchange to which the service publishes new messages.
    ingress: &'static str,
    tickets: Vec<u64>,
    confirms: Vec<ConfirmResult>,
    returned: HashSet<u64>,
}

enum ConfirmResult {
    Acked,
    Nacked,
    TooLarge(usize),
    Unanswered(String),
}

impl<'a> PublishWindow<'a> {
    /// Each message has a ticket of its own, never 0, by which its return is known.
    pub fn new(messages: &'a [Outgoing], ingress: &'static str, tickets: Vec<u64>) -> Self {
        Self {
            messages,
            ingress,
            tickets,
            confirms: Vec::with_capacity(messages.len()),
            returned: HashSet::new(),
        }
    }

    pub async fn send(&mut self, channel: &Channel, deadline: Instant) {
        let tickets = self.messages.iter().zip(&self.tickets);
        let sent =
            join_all(tickets.map(|(message, ticket)| self.send_one(channel, message, *ticket, deadline)))
                .await;
        for confirm in sent {
            let answer = match confirm {
                Ok(confirm) => self.await_confirm(confirm, deadline).await,
                Err(answer) => answer,
            };
            self.confirms.push(answer);
        }
    }

    async fn send_one(
        &self,
        channel: &Channel,
        message: &Outgoing,
        ticket: u64,
        deadline: Instant,
    ) -> Result<PublisherConfirm, ConfirmResult> {
        if message.payload.len() > MAX_MESSAGE_BYTES {
            return Err(ConfirmResult::TooLarge(message.payload.len()));
        }
        let options = BasicPublishOptions {
            mandatory: MANDATORY,
            ..Default::default()
        };
        let sent = channel.basic_publish(
            short_string(message.exchange.name(self.ingress)),
            short_string(&message.routing_key),
            options,
            &message.payload,
            message.properties(ticket),
        );
        match timeout_at(deadline, sent).await {
            Ok(Ok(confirm)) => Ok(confirm),
            Ok(Err(error)) => Err(ConfirmResult::Unanswered(error.to_string())),
            Err(_) => Err(ConfirmResult::Unanswered("not written in time".into())),
        }
    }

    async fn await_confirm(&mut self, confirm: PublisherConfirm, deadline: Instant) -> ConfirmResult {
        let (answer, returned) = match timeout_at(deadline, confirm).await {
            Ok(Ok(Confirmation::Ack(returned))) => (ConfirmResult::Acked, returned),
            Ok(Ok(Confirmation::Nack(returned))) => (ConfirmResult::Nacked, returned),
            Ok(Ok(Confirmation::NotRequested)) => {
                (ConfirmResult::Unanswered("confirms are off".into()), None)
            }
            Ok(Err(error)) => (ConfirmResult::Unanswered(error.to_string()), None),
            Err(_) => (ConfirmResult::Unanswered("no confirm in time".into()), None),
        };
        if let Some(message) = returned {
            let ticket = message
                .delivery
                .properties
                .correlation_id()
                .as_ref()
                .map(|id| id.as_str().parse());
            // A return without one of our tickets makes the whole window untrustworthy.
            self.returned.insert(ticket.and_then(Result::ok).unwrap_or(0));
        }
        answer
    }

    /// Every message was answered, and every return belongs to one of them.
    pub fn is_complete(&self) -> bool {
        !self
            .confirms
            .iter()
            .any(|answer| matches!(answer, ConfirmResult::Unanswered(_)))
            && !self.returned.contains(&0)
    }

    /// One result for each message, in order.
    pub fn into_results(self) -> Vec<PublishResult> {
        // A confirm that is still missing may carry another message's return, so then no positive confirm is trustworthy.
        let is_complete = self.is_complete();
        let rows = self.tickets.iter().zip(self.confirms).zip(self.messages);
        rows.map(|((ticket, answer), message)| match answer {
            _ if self.returned.contains(ticket) => Err(PublishError::Unroutable {
                exchange: message.exchange.name(self.ingress).to_owned(),
                routing_key: message.routing_key.clone(),
            }),
            ConfirmResult::Acked if is_complete => Ok(()),
            ConfirmResult::Acked => Err(PublishError::Unknown(
                "the window was not answered in full".into(),
            )),
            ConfirmResult::Nacked => Err(PublishError::Refused),
            ConfirmResult::TooLarge(bytes) => Err(PublishError::TooLarge(bytes)),
            ConfirmResult::Unanswered(why) => Err(PublishError::Unknown(why)),
        })
        .collect()
    }
}

#[cfg(test)]
mod tests;
