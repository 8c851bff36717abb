//! The next step of a txRef: at most one command is live at a time, and no mint is commanded without a payment that
//! verifies at that moment.

use domain::decision::{Decision, DecisionFacts, LiveCommand, decide};
use domain::evidence::{EvidenceError, SignedReport};
use domain::exception::ExceptionKind;
use domain::ids::{IntentId, MessageId, Preimage};
use domain::intent::{ChainLeg, PaymentLeg};
use domain::key_ring::KeyRing;
use domain::payment::PaymentReport;
use messaging::wire::{MintExecute, MintRefund, RefundReason};
use messaging::{MessageMetadata, SealedMessage};
use runtime::telemetry;
use storage::callback::decisions::{self, DecisionRow, IssuedCommand};
use storage::callback::exceptions;
use storage::callback::reports;
use storage::halts;
use storage::outbox::OutboxRow;
use tracing::Span;

use super::{IntentCheck, LockedDecision, is_compromised};
use crate::observe::Event;
use crate::state::HandlerError;

/// The stored report as a payment for this intent, authentic by itself: the row's word does not count.
fn proven_payment(
    report: &SignedReport,
    intent: &Preimage,
    keys: &KeyRing,
) -> Result<PaymentReport, EvidenceError> {
    report.pays_for(intent, keys)
}

impl LockedDecision<'_> {
    /// Decides and sends the live command again, if it is still the one that the sweep found.
    pub async fn redrive(&mut self, found: MessageId) -> Result<(), HandlerError> {
        let Some(live) = self.decision.live_command.filter(|live| live.message_id == found) else {
            return Ok(());
        };
        self.decision.live_command = None;
        self.redriven = Some(found);
        self.decide().await?;
        if self.decision.live_command.is_none() && !self.decision.chain_leg.is_terminal() {
            // No command replaced it, so the earlier one may still take effect.
            self.decision.live_command = Some(live);
        }
        Ok(())
    }

    /// Decides the next step and takes it.
    pub async fn decide(&mut self) -> Result<(), HandlerError> {
        let Some(intent_id) = self.decision.intent_id else {
            return Ok(());
        };
        if let IntentCheck::Tampered(detail) = &self.intent {
            let detail = detail.clone();
            self.open_exception(ExceptionKind::IntentTampered, None, None, detail)
                .await?;
        }
        let facts = self.gather_facts(&intent_id).await?;
        let step = decide(facts);
        match step {
            Decision::Wait | Decision::Hold => Ok(()),
            Decision::Done => self.check_minted_after_owed().await,
            Decision::Execute => self.execute().await,
            Decision::Drop | Decision::Refund => self.refund(),
            Decision::OwedToPayer => match self.first_payment.clone() {
                Some(first) => {
                    let why = format!("paid, and the deposit is {}", self.decision.chain_leg);
                    self.open_owed_exception(&first.receipt.to_string(), first.amount, &why)
                        .await
                }
                None => Ok(()),
            },
            Decision::MintWithoutPayment => self.minted_without_payment().await,
        }
    }

    /// No step follows. But if the payer was also owed this money, it may have been paid out twice: opens an exception.
    async fn check_minted_after_owed(&mut self) -> Result<(), HandlerError> {
        let (ChainLeg::Executed(_), Some(first)) = (self.decision.chain_leg, self.first_payment.clone())
        else {
            return Ok(());
        };
        if exceptions::owed_without_approval(self.tx, &self.decision.tx_ref, &first.receipt).await? {
            let detail = "minted, and the payer was owed this money: see whether they have it too".to_owned();
            let receipt = Some(first.receipt.to_string());
            self.open_exception(
                ExceptionKind::MintedAfterOwed,
                receipt,
                Some(first.amount),
                detail,
            )
            .await?;
        }
        Ok(())
    }

    /// Gathers the facts for the decision. Queries other tables only where they matter.
    async fn gather_facts(&self, intent_id: &IntentId) -> Result<DecisionFacts, HandlerError> {
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
            // Once a refund is commanded, it is re-sent if lost, whether or not a deposit was signed meanwhile.
            deposit_attempted: given_up
                && !refund_commanded
                && decisions::deposit_attempted(self.tx, intent_id).await?,
            mismatch_resolved: payment == PaymentLeg::Mismatched
                && exceptions::mismatch_resolved(self.tx, &self.decision.tx_ref).await?,
            live_command: live.map(|live| live.command),
        })
    }

    /// Commands the mint. Nothing else does: it needs the stored report, verified now against the verified intent.
    async fn execute(&mut self) -> Result<(), HandlerError> {
        let (IntentCheck::Verified(intent, _), Some(first)) =
            (self.intent.clone(), self.first_payment.clone())
        else {
            let detail = "the decision says paid, and no payment is recorded".to_owned();
            return self
                .open_exception(ExceptionKind::ReportTampered, None, None, detail)
                .await;
        };
        let receipt = first.receipt.to_string();
        let Some(report) = reports::find_signed(self.tx, first.report_id).await? else {
            let detail = format!("report {} is gone", first.report_id);
            return self
                .open_exception(ExceptionKind::ReportTampered, Some(receipt), None, detail)
                .await;
        };
        // This check comes before the MAC: a compromised key's secret is removed, so the key would only look unknown.
        if self.rests_on_compromised_key(&report).await? {
            let detail = format!("report {} is signed with a compromised key", first.report_id);
            return self
                .open_exception(ExceptionKind::CompromisedKey, Some(receipt), None, detail)
                .await;
        }
        match proven_payment(&report, &intent, &self.state.keys.current().mpesa) {
            Ok(parsed) if parsed.receipt() == Some(&first.receipt) => {}
            // The key is not mounted, perhaps not yet. The facts are stored, and a sweep decides again.
            Err(EvidenceError::UnknownKey(key_id)) => {
                self.events.push(Event::WaitsForKey { key_id });
                return Ok(());
            }
            not_proven => {
                let detail = not_proven
                    .err()
                    .map_or("another receipt".to_owned(), |error| error.to_string());
                return self
                    .open_exception(ExceptionKind::ReportTampered, Some(receipt), None, detail)
                    .await;
            }
        }
        if exceptions::was_owed(self.tx, &self.decision.tx_ref, &first.receipt).await? {
            // The payer was owed after a refund that a fork then took back, and may have the money by now.
            let detail = "the payer was owed this money, and the deposit is escrowed again".to_owned();
            self.open_exception(
                ExceptionKind::AlreadyOwed,
                Some(receipt),
                Some(first.amount),
                detail,
            )
            .await?;
            if self.held {
                return Ok(());
            }
        }
        let span = self.decision_span(LiveCommand::Execute, &intent);
        let body = MintExecute { intent, report };
        let sealed = self.state.sealer.seal(&body, self.metadata(&span))?;
        self.push_command(LiveCommand::Execute, span, sealed, Some(first.age_seconds));
        Ok(())
    }

    /// The key may have been compromised after the report was recorded.
    async fn rests_on_compromised_key(&self, report: &SignedReport) -> Result<bool, HandlerError> {
        is_compromised(self.tx, report).await
    }

    fn refund(&mut self) -> Result<(), HandlerError> {
        // A tampered intent is held, and a held txRef gets no commands.
        let IntentCheck::Verified(intent, _) = self.intent.clone() else {
            return Ok(());
        };
        let reason = match self.decision.payment_leg {
            _ if self.decision.mint_refused => RefundReason::NotCompliant,
            PaymentLeg::Expired => RefundReason::Expired,
            PaymentLeg::Mismatched => RefundReason::Operator,
            _ => RefundReason::Declined,
        };
        let span = self.decision_span(LiveCommand::Refund, &intent);
        let body = MintRefund { intent, reason };
        let sealed = self.state.sealer.seal(&body, self.metadata(&span))?;
        self.decision.refund_commanded = true;
        self.push_command(LiveCommand::Refund, span, sealed, None);
        Ok(())
    }

    /// The span from the decision to its commit. A command belongs to the intent's trace, whatever triggered it.
    fn decision_span(&self, command: LiveCommand, intent: &Preimage) -> Span {
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

    fn metadata(&self, span: &Span) -> MessageMetadata {
        let causation = self.redriven.or(self.trigger.message_id);
        self.state.metadata(causation, span)
    }

    fn push_command(
        &mut self,
        command: LiveCommand,
        span: Span,
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
            redriven: again,
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

    /// A mint without a payment is the worst possible observation: opens an exception that pages, and halts executes.
    async fn minted_without_payment(&mut self) -> Result<(), HandlerError> {
        let before = self.events.len();
        let detail = format!("minted while the payment is {}", self.decision.payment_leg);
        self.open_exception(ExceptionKind::MintWithoutPayment, None, None, detail)
            .await?;
        if self.events.len() > before {
            let reason = format!("mint without payment for {}", self.decision.tx_ref);
            halts::halt_executes(self.tx, &reason).await?;
            self.events.push(Event::ExecutesHalted);
        }
        Ok(())
    }
}
