//! The step that follows from a txRef's facts: at most one live command, and never a mint without a payment that
//! verifies now.

use domain::decision::{Decision as Step, DecisionFacts, LiveCommand, decide};
use domain::evidence::EvidenceError;
use domain::ids::{IntentId, MessageId, Preimage};
use domain::intent::{ChainLeg, PaymentLeg};
use messaging::wire::{MintExecute, MintRefund, RefundReason};
use messaging::{SealedMessage, Stamp};
use runtime::telemetry;
use storage::callback::decisions::{self, DecisionRow, IssuedCommand};
use storage::callback::exceptions::{self, ExceptionKind};
use storage::callback::reports;
use storage::halts;
use storage::outbox::OutboxRow;
use tracing::Span;

use super::{Case, Intent, is_compromised};
use crate::desk::DeskError;
use crate::observe::Event;

impl Case<'_> {
    /// Sends the live command once more, if it still is the one that was found waiting.
    pub async fn redrive(&mut self, found: MessageId) -> Result<(), DeskError> {
        let Some(live) = self.decision.live_command.filter(|live| live.message_id == found) else {
            return Ok(());
        };
        self.decision.live_command = None;
        self.redriven = Some(found);
        self.settle().await?;
        if self.decision.live_command.is_none() && !self.decision.chain_leg.is_terminal() {
            // Nothing was commanded in its place: what was sent may still take effect.
            self.decision.live_command = Some(live);
        }
        Ok(())
    }

    /// Decides, and takes the step.
    pub async fn settle(&mut self) -> Result<(), DeskError> {
        let Some(intent_id) = self.decision.intent_id else {
            return Ok(());
        };
        if let Intent::Tampered(detail) = &self.intent {
            let detail = detail.clone();
            self.except(ExceptionKind::IntentTampered, None, None, detail)
                .await?;
        }
        let facts = self.facts(&intent_id).await?;
        let step = decide(facts);
        match step {
            Step::Wait | Step::Hold => Ok(()),
            Step::Done => self.done().await,
            Step::Execute => self.execute().await,
            Step::Drop | Step::Refund => self.refund(),
            Step::OwedToPayer => match self.first.clone() {
                Some(first) => {
                    let why = format!("paid, and the deposit is {}", self.decision.chain_leg);
                    self.owe(&first.receipt.to_string(), first.amount, &why).await
                }
                None => Ok(()),
            },
            Step::MintWithoutPayment => self.minted_without_payment().await,
        }
    }

    /// Nothing follows; but a mint for money that was owed back may have been paid out twice.
    async fn done(&mut self) -> Result<(), DeskError> {
        let (ChainLeg::Executed(_), Some(first)) = (self.decision.chain_leg, self.first.clone()) else {
            return Ok(());
        };
        if exceptions::owed_without_approval(self.tx, &self.decision.tx_ref, &first.receipt).await? {
            let detail = "minted, and the payer was owed this money: see whether they have it too".to_owned();
            let receipt = Some(first.receipt.to_string());
            self.except(
                ExceptionKind::MintedAfterOwed,
                receipt,
                Some(first.amount),
                detail,
            )
            .await?;
        }
        Ok(())
    }

    /// What the tables of others add is asked for only where it counts.
    async fn facts(&self, intent_id: &IntentId) -> Result<DecisionFacts, DeskError> {
        let DecisionRow {
            chain_leg: chain,
            payment_leg: payment,
            mint_refused: refused,
            refund_commanded,
            live_command: ref live,
            ..
        } = self.decision;
        let given_up = matches!(chain, ChainLeg::Queued | ChainLeg::Submitting)
            && matches!(payment, PaymentLeg::Declined | PaymentLeg::Expired);
        Ok(DecisionFacts {
            chain_leg: chain,
            payment_leg: payment,
            mint_refused: refused,
            is_held: self.held,
            // Once commanded, an undo that was lost is sent again, whatever was signed meanwhile.
            deposit_attempted: given_up
                && !refund_commanded
                && decisions::deposit_attempted(self.tx, intent_id).await?,
            mismatch_resolved: payment == PaymentLeg::Mismatched
                && exceptions::mismatch_resolved(self.tx, &self.decision.tx_ref).await?,
            live_command: live.map(|live| live.command),
        })
    }

    /// The only place that commands a mint: from the stored bytes, verified now, against the sound preimage.
    async fn execute(&mut self) -> Result<(), DeskError> {
        let (Intent::Sound(intent, _), Some(first)) = (self.intent.clone(), self.first.clone()) else {
            let detail = "the decision says paid, and no payment is recorded".to_owned();
            return self
                .except(ExceptionKind::ReportTampered, None, None, detail)
                .await;
        };
        let receipt = first.receipt.to_string();
        let Some(report) = reports::find_signed(self.tx, first.report_id).await? else {
            let detail = format!("report {} is gone", first.report_id);
            return self
                .except(ExceptionKind::ReportTampered, Some(receipt), None, detail)
                .await;
        };
        // Before the MAC is looked at: a compromised key's secret is gone, so it would only look unknown.
        if is_compromised(self.tx, &report).await? {
            let detail = format!("report {} is signed with a compromised key", first.report_id);
            return self
                .except(ExceptionKind::CompromisedKey, Some(receipt), None, detail)
                .await;
        }
        match report.pays_for(&intent, &self.desk.keys.current().mpesa) {
            Ok(parsed) if parsed.receipt() == Some(&first.receipt) => {}
            // The key is not here (yet): the facts are stored, a sweep decides again.
            Err(EvidenceError::UnknownKey(key_id)) => {
                self.events.push(Event::WaitsForKey { key_id });
                return Ok(());
            }
            Ok(_) => {
                return self
                    .except(
                        ExceptionKind::ReportTampered,
                        Some(receipt),
                        None,
                        "another receipt".into(),
                    )
                    .await;
            }
            Err(error) => {
                return self
                    .except(
                        ExceptionKind::ReportTampered,
                        Some(receipt),
                        None,
                        error.to_string(),
                    )
                    .await;
            }
        }
        if exceptions::was_owed(self.tx, &self.decision.tx_ref, &first.receipt).await? {
            // A fork took back the refund after which the payer was owed: perhaps they have their money by now.
            let detail = "the payer was owed this money, and the deposit is escrowed again".to_owned();
            self.except(
                ExceptionKind::OwedBefore,
                Some(receipt),
                Some(first.amount),
                detail,
            )
            .await?;
            if self.held {
                return Ok(());
            }
        }
        let span = self.deciding(LiveCommand::Execute, &intent);
        let body = MintExecute { intent, report };
        let sealed = self.desk.sealer.seal(&body, self.stamp(&span))?;
        self.command((LiveCommand::Execute, span), sealed, Some(first.age_seconds));
        Ok(())
    }

    fn refund(&mut self) -> Result<(), DeskError> {
        // A tampered intent holds, and a hold commands nothing.
        let Intent::Sound(intent, _) = self.intent.clone() else {
            return Ok(());
        };
        let reason = match self.decision.payment_leg {
            _ if self.decision.mint_refused => RefundReason::NotCompliant,
            PaymentLeg::Expired => RefundReason::Expired,
            PaymentLeg::Mismatched => RefundReason::Operator,
            _ => RefundReason::Declined,
        };
        let span = self.deciding(LiveCommand::Refund, &intent);
        let body = MintRefund { intent, reason };
        let sealed = self.desk.sealer.seal(&body, self.stamp(&span))?;
        self.decision.refund_commanded = true;
        self.command((LiveCommand::Refund, span), sealed, None);
        Ok(())
    }

    /// From the decision to its commit. A command belongs to the trace that the intent began, whatever brought us here.
    fn deciding(&self, command: LiveCommand, intent: &Preimage) -> Span {
        let span = tracing::info_span!(
            "callback.decide",
            command = command.name(),
            tx_ref = %intent.tx_ref,
            intent_id = %intent.intent_id(),
            message_id = tracing::field::Empty,
            trace_id = tracing::field::Empty,
        );
        telemetry::join_trace(&span, self.trace_parent.as_deref());
        span
    }

    fn stamp(&self, span: &Span) -> Stamp {
        let causation = self.redriven.or(self.because.message_id);
        self.desk.stamp(causation, span)
    }

    fn command(
        &mut self,
        (command, span): (LiveCommand, Span),
        sealed: SealedMessage,
        after_seconds: Option<f64>,
    ) {
        span.record("message_id", tracing::field::display(&sealed.message_id));
        let again = self.redriven.is_some();
        self.decision.redrive_count = if again {
            self.decision.redrive_count.saturating_add(1)
        } else {
            0
        };
        self.decision.live_command = Some(IssuedCommand {
            command,
            message_id: sealed.message_id,
        });
        let what = if again { "command again" } else { "command" };
        self.history.push(format!("{what} {}", command.name()));
        self.events.push(Event::Commanded {
            command,
            again,
            after_seconds: after_seconds.filter(|_| !again),
            span,
        });
        self.outbox.push(OutboxRow {
            message_id: sealed.message_id,
            queue: sealed.queue.name(),
            subject: self.decision.tx_ref.to_string(),
            envelope: sealed.bytes,
        });
    }

    /// The worst that can be seen: page, and stop executing at once.
    async fn minted_without_payment(&mut self) -> Result<(), DeskError> {
        let before = self.events.len();
        let detail = format!("minted while the payment is {}", self.decision.payment_leg);
        self.except(ExceptionKind::MintWithoutPayment, None, None, detail)
            .await?;
        if self.events.len() > before {
            let reason = format!("mint without payment for {}", self.decision.tx_ref);
            halts::halt_executes(self.tx, &reason).await?;
            self.events.push(Event::Halted);
        }
        Ok(())
    }
}
