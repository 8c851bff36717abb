//! One locked decision row: what is known about its txRef, and the only methods that change the row. Everything happens
//! in the caller's transaction.

mod steps;

use domain::evidence::SignedReport;
use domain::exception::ExceptionKind;
use domain::ids::{IntentId, MessageId, Preimage};
use domain::intent::{ChainLeg, PaymentLeg};
use domain::money::Shillings;
use domain::signature::SignatureHeader;
use domain::tx_ref::TxRef;
use storage::callback::decisions::{self, DecisionRow, IntentRow};
use storage::callback::exceptions::{self, NewException};
use storage::callback::payments::{self, PaymentRow};
use storage::callback::reports::{self, MpesaKeyTrust};
use storage::outbox::OutboxRow;
use storage::{DbSession, DbTransaction, Outbox, StorageError};

use crate::classify::{ExpectedAmount, PaymentMatch, ReportedLeg, match_payment};
use crate::observe::{self, Event};
use crate::state::{AppState, HandlerError};

/// The gateway's row of the intent, after verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntentCheck {
    /// The gateway has no row.
    Unknown,
    /// The fields hash to the row's id, which is also the decision's intent id.
    Verified(Preimage, IntentId),
    /// The fields do not hash to that id: somebody changed a row. The text explains it to the operator.
    Tampered(String),
}

/// What triggered the change, for the history.
#[derive(Clone, Copy, Debug)]
pub struct Trigger {
    pub cause: &'static str,
    pub message_id: Option<MessageId>,
}

/// The locked decision row of one txRef, with everything that is known about the txRef.
pub struct LockedDecision<'t> {
    state: &'t AppState,
    tx: &'t DbTransaction<'t>,
    trigger: Trigger,
    /// The row as it was read.
    original: DecisionRow,
    pub decision: DecisionRow,
    pub intent: IntentCheck,
    /// The trace context of the intent.
    trace_parent: Option<String>,
    /// The first payment of the txRef, whether it matches or not.
    pub first_payment: Option<PaymentRow>,
    held: bool,
    history: Vec<String>,
    outbox: Vec<OutboxRow>,
    events: Vec<Event>,
    redriven: Option<MessageId>,
}

/// Logs, metrics and the relay's notification, which must wait until the transaction is committed.
#[must_use]
pub struct AfterCommit {
    tx_ref: TxRef,
    events: Vec<Event>,
    commanded: bool,
}

impl AfterCommit {
    /// Emits the events and wakes the relay. Call this only after the commit.
    pub fn run(self, state: &AppState) {
        observe::emit(&self.tx_ref, &self.events);
        if self.commanded {
            state.relay.notify();
        }
    }
}

impl<'t> LockedDecision<'t> {
    /// Locks the decision row, then reads everything that was committed before.
    pub async fn open(
        state: &'t AppState,
        tx: &'t DbTransaction<'t>,
        tx_ref: &TxRef,
        trigger: Trigger,
    ) -> Result<Self, HandlerError> {
        let decision = decisions::lock(tx, tx_ref).await?;
        // Pipelined: one round trip.
        let (held, intent, first) = tokio::join!(
            decisions::is_held(tx, tx_ref),
            decisions::intent(tx, tx_ref),
            payments::first(tx, tx_ref)
        );
        let trace_parent = intent
            .as_ref()
            .ok()
            .and_then(|row| row.as_ref()?.trace_parent.clone());
        let intent = match intent {
            Ok(None) => IntentCheck::Unknown,
            Ok(Some(row)) if is_consistent(&row) => IntentCheck::Verified(row.preimage, row.intent_id),
            Ok(Some(row)) => IntentCheck::Tampered(format!(
                "the fields of {} hash to {}",
                row.intent_id,
                row.preimage.intent_id()
            )),
            Err(error @ StorageError::Corrupt { .. }) => IntentCheck::Tampered(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        let mut locked = Self {
            state,
            tx,
            trigger,
            original: decision.clone(),
            decision,
            intent,
            trace_parent,
            first_payment: first?,
            held: held?,
            history: Vec::new(),
            outbox: Vec::new(),
            events: Vec::new(),
            redriven: None,
        };
        if locked.decision.intent_id.is_none()
            && let IntentCheck::Verified(_, id) = locked.intent
        {
            locked.decision.intent_id = Some(id);
        }
        locked.compare_ids();
        Ok(locked)
    }

    /// Binds the decision to the intent that an outcome names.
    pub fn bind_intent(&mut self, intent_id: IntentId) {
        match self.decision.intent_id {
            None => self.decision.intent_id = Some(intent_id),
            Some(known) if known == intent_id => {}
            Some(known) => {
                self.intent = IntentCheck::Tampered(format!(
                    "the chain speaks of {intent_id}, the decision of {known}"
                ));
            }
        }
        self.compare_ids();
    }

    fn compare_ids(&mut self) {
        let fault = match (&self.intent, self.decision.intent_id) {
            (IntentCheck::Verified(_, row), Some(known)) if *row != known => {
                format!("the row is about {row}, the decision about {known}")
            }
            (IntentCheck::Unknown, Some(known)) => format!("the row of {known} is gone"),
            _ => return,
        };
        self.intent = IntentCheck::Tampered(fault);
    }

    pub fn expected_amount(&self) -> ExpectedAmount {
        match &self.intent {
            IntentCheck::Unknown => ExpectedAmount::Nothing,
            IntentCheck::Tampered(_) => ExpectedAmount::Unknown,
            IntentCheck::Verified(preimage, _) => preimage
                .amount
                .to_shillings()
                .map_or(ExpectedAmount::Unknown, ExpectedAmount::Exactly),
        }
    }

    /// Changes the payment leg, if the move is legal. Nothing else changes it.
    pub fn set_payment(&mut self, to: PaymentLeg) {
        let from = self.decision.payment_leg;
        if from != to && from.may_become(to, self.decision.refund_commanded) {
            self.decision.payment_leg = to;
            self.history.push(format!("payment {from} -> {to}"));
        }
    }

    /// Changes the chain leg to what an outcome reported. `reported` was already compared with the current state. Nothing
    /// else changes the leg.
    pub async fn set_chain(&mut self, reported: ReportedLeg) -> Result<(), HandlerError> {
        let name = |leg: ChainLeg| {
            if leg.is_final() {
                format!("{leg} (final)")
            } else {
                leg.to_string()
            }
        };
        let from = self.decision.chain_leg;
        if from != reported.chain {
            self.history
                .push(format!("chain {} -> {}", name(from), name(reported.chain)));
        }
        if reported.refused && !self.decision.mint_refused {
            self.history.push("mint refused: not compliant".to_owned());
        }
        if is_taken_back(from, reported.chain) {
            let detail = format!("{} is taken back by a fork: {}", name(from), name(reported.chain));
            self.open_exception(ExceptionKind::FinalReverted, None, None, detail)
                .await?;
        }
        self.decision.chain_leg = reported.chain;
        self.decision.mint_refused = reported.refused;
        self.decision.outcome_sequence = reported.sequence;
        // The issued command has its outcome; after a refused execute, the refund that follows replaces it.
        if !matches!(
            reported.chain,
            ChainLeg::Queued | ChainLeg::Submitting | ChainLeg::Escrowed
        ) {
            self.decision.live_command = None;
            self.decision.redrive_count = 0;
        }
        Ok(())
    }

    pub fn reported_leg(&self) -> ReportedLeg {
        ReportedLeg {
            chain: self.decision.chain_leg,
            refused: self.decision.mint_refused,
            sequence: self.decision.outcome_sequence,
        }
    }

    /// Matches a payment that arrived before its intent, unless it waited too long.
    pub async fn match_waiting_payment(&mut self) -> Result<(), HandlerError> {
        let Some(first) = self.first_payment.clone() else {
            return Ok(());
        };
        if !matches!(
            self.decision.payment_leg,
            PaymentLeg::Awaiting | PaymentLeg::Declined
        ) {
            return Ok(());
        }
        let limit = std::time::Duration::from_secs(self.state.windows.orphan_match_seconds);
        if first.age_seconds > limit.as_secs_f64() {
            return self.open_orphan_exception().await;
        }
        let refunding = self.decision.refund_commanded;
        match match_payment(
            self.expected_amount(),
            first.amount,
            self.decision.payment_leg,
            refunding,
        ) {
            PaymentMatch::Accepted(leg) => self.record_match(leg, &first).await,
            PaymentMatch::Owed => {
                self.open_owed_exception(&first.receipt.to_string(), first.amount, "paid after the refund")
                    .await
            }
            PaymentMatch::Orphan | PaymentMatch::Unverifiable => Ok(()),
        }
    }

    /// Records whether the payment has the intent's amount; opens an exception if it does not.
    pub async fn record_match(&mut self, leg: PaymentLeg, payment: &PaymentRow) -> Result<(), HandlerError> {
        self.set_payment(leg);
        if leg == PaymentLeg::Mismatched {
            let detail = format!(
                "paid {} KES, the intent commits to another amount",
                payment.amount
            );
            self.open_exception(
                ExceptionKind::AmountMismatch,
                Some(payment.receipt.to_string()),
                Some(payment.amount),
                detail,
            )
            .await?;
        }
        Ok(())
    }

    /// Opens an exception for a payment without an intent.
    pub async fn open_orphan_exception(&mut self) -> Result<(), HandlerError> {
        let Some(first) = self.first_payment.clone() else {
            return Ok(());
        };
        let detail = "no intent asked for this payment in time".to_owned();
        self.open_exception(
            ExceptionKind::OrphanPayment,
            Some(first.receipt.to_string()),
            Some(first.amount),
            detail,
        )
        .await
    }

    /// Opens an exception: the payer is owed this amount.
    pub async fn open_owed_exception(
        &mut self,
        receipt: &str,
        amount: Shillings,
        why: &str,
    ) -> Result<(), HandlerError> {
        self.open_exception(
            ExceptionKind::OwedToPayer,
            Some(receipt.to_owned()),
            Some(amount),
            why.to_owned(),
        )
        .await
    }

    /// Opens an exception, unless the same one was opened before.
    pub async fn open_exception(
        &mut self,
        kind: ExceptionKind,
        receipt: Option<String>,
        amount: Option<Shillings>,
        detail: String,
    ) -> Result<(), HandlerError> {
        let exception = NewException {
            kind,
            tx_ref: self.decision.tx_ref.to_string(),
            intent_id: self.decision.intent_id,
            receipt,
            amount,
            detail,
        };
        if exceptions::open(self.tx, &exception).await? {
            self.held |= kind.holds();
            self.history.push(format!("exception {}", kind.name()));
            self.events.push(Event::ExceptionOpened {
                kind,
                detail: exception.detail,
            });
        }
        Ok(())
    }

    /// Writes all changes. The caller commits and then runs the returned effects.
    pub async fn save(self) -> Result<AfterCommit, HandlerError> {
        // An unchanged row keeps its `updated_at`, because sweeps use it to see how long nothing has happened.
        if self.decision != self.original || !self.history.is_empty() {
            let Trigger { cause, message_id } = self.trigger;
            decisions::save(self.tx, &self.decision, &self.history, cause, message_id).await?;
        }
        Outbox::Callback.push_many(self.tx, &self.outbox).await?;
        Ok(AfterCommit {
            tx_ref: self.decision.tx_ref,
            commanded: !self.outbox.is_empty(),
            events: self.events,
        })
    }
}

/// Whether the report was signed with a compromised key.
pub async fn is_compromised(session: &impl DbSession, report: &SignedReport) -> Result<bool, HandlerError> {
    match report.signature.parse::<SignatureHeader>() {
        Ok(header) => {
            Ok(reports::mpesa_key_trust(session, &header.key_id).await? == MpesaKeyTrust::Compromised)
        }
        Err(_) => Ok(false),
    }
}

/// The intent's id commits to the other fields of its row.
fn is_consistent(row: &IntentRow) -> bool {
    row.preimage.intent_id() == row.intent_id
}

/// A fork took back what was final.
const fn is_taken_back(from: ChainLeg, to: ChainLeg) -> bool {
    from.is_final() && !to.is_final()
}
