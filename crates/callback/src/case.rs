//! One txRef under its lock: the facts about it, and the doors through which its row changes. Everything happens in
//! the caller's transaction.

mod steps;

use domain::evidence::SignedReport;
use domain::ids::{IntentId, MessageId, Preimage};
use domain::intent::{ChainLeg, PaymentLeg};
use domain::money::Shillings;
use domain::signature::SignatureHeader;
use domain::tx_ref::TxRef;
use storage::callback::decisions::{self, DecisionRow};
use storage::callback::exceptions::{self, ExceptionKind, NewException};
use storage::callback::payments::{self, PaymentRow};
use storage::callback::reports::{self, MpesaKeyTrust};
use storage::outbox::OutboxRow;
use storage::{DbSession, DbTransaction, Outbox, StorageError};

use crate::desk::{Desk, DeskError};
use crate::judge::{Expected, FirstLeg, Told, match_payment};
use crate::observe::{self, Event};

/// What the gateway's row says about the intent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Intent {
    Unknown,
    /// Its fields hash to its id, and to the id the decision is about.
    Sound(Preimage, IntentId),
    /// They do not: somebody changed a row. The text is for the person.
    Tampered(String),
}

/// What brought us here, for the history.
#[derive(Clone, Copy, Debug)]
pub struct Because {
    pub cause: &'static str,
    pub message_id: Option<MessageId>,
}

/// A locked txRef.
pub struct Case<'t> {
    desk: &'t Desk,
    tx: &'t DbTransaction<'t>,
    because: Because,
    /// The row as it was found.
    before: DecisionRow,
    pub decision: DecisionRow,
    pub intent: Intent,
    /// The trace that the intent began.
    trace_parent: Option<String>,
    /// The payment of the txRef, matched or not.
    pub first: Option<PaymentRow>,
    held: bool,
    history: Vec<String>,
    outbox: Vec<OutboxRow>,
    events: Vec<Event>,
    redriven: Option<MessageId>,
}

/// What is told to the outside once the transaction is committed.
#[must_use]
pub struct Closed {
    tx_ref: TxRef,
    events: Vec<Event>,
    sent: bool,
}

impl Closed {
    /// Call it after the commit.
    pub fn announce(self, desk: &Desk) {
        observe::emit(&self.tx_ref, &self.events);
        if self.sent {
            desk.wake.now();
        }
    }
}

impl<'t> Case<'t> {
    /// Takes the lock, then reads everything that was committed before.
    pub async fn open(
        desk: &'t Desk,
        tx: &'t DbTransaction<'t>,
        tx_ref: &TxRef,
        because: Because,
    ) -> Result<Self, DeskError> {
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
            Ok(None) => Intent::Unknown,
            Ok(Some(row)) if row.preimage.intent_id() == row.intent_id => {
                Intent::Sound(row.preimage, row.intent_id)
            }
            Ok(Some(row)) => Intent::Tampered(format!(
                "the fields of {} hash to {}",
                row.intent_id,
                row.preimage.intent_id()
            )),
            Err(error @ StorageError::Corrupt { .. }) => Intent::Tampered(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        let mut case = Self {
            desk,
            tx,
            because,
            before: decision.clone(),
            decision,
            intent,
            trace_parent,
            first: first?,
            held: held?,
            history: Vec::new(),
            outbox: Vec::new(),
            events: Vec::new(),
            redriven: None,
        };
        if case.decision.intent_id.is_none()
            && let Intent::Sound(_, id) = case.intent
        {
            case.decision.intent_id = Some(id);
        }
        case.compare_ids();
        Ok(case)
    }

    /// An outcome speaks of this intent: from now on the decision is about it.
    pub fn bind(&mut self, intent_id: IntentId) {
        match self.decision.intent_id {
            None => self.decision.intent_id = Some(intent_id),
            Some(known) if known == intent_id => {}
            Some(known) => {
                self.intent = Intent::Tampered(format!(
                    "the chain speaks of {intent_id}, the decision of {known}"
                ));
            }
        }
        self.compare_ids();
    }

    fn compare_ids(&mut self) {
        let fault = match (&self.intent, self.decision.intent_id) {
            (Intent::Sound(_, row), Some(known)) if *row != known => {
                format!("the row is about {row}, the decision about {known}")
            }
            (Intent::Unknown, Some(known)) => format!("the row of {known} is gone"),
            _ => return,
        };
        self.intent = Intent::Tampered(fault);
    }

    pub fn expected(&self) -> Expected {
        match &self.intent {
            Intent::Unknown => Expected::Nothing,
            Intent::Tampered(_) => Expected::Unknown,
            Intent::Sound(preimage, _) => preimage
                .amount
                .to_shillings()
                .map_or(Expected::Unknown, Expected::Exactly),
        }
    }

    /// The payment leg's one door.
    pub fn set_payment(&mut self, to: PaymentLeg) {
        let from = self.decision.payment_leg;
        if from != to && from.may_become(to, self.decision.refund_commanded) {
            self.decision.payment_leg = to;
            self.history.push(format!("payment {from} -> {to}"));
        }
    }

    /// The chain leg's one door; `told` was judged against the current state.
    pub async fn set_chain(&mut self, told: Told) -> Result<(), DeskError> {
        let name = |leg: ChainLeg| {
            if leg.is_final() {
                format!("{leg} (final)")
            } else {
                leg.to_string()
            }
        };
        let from = self.decision.chain_leg;
        if from != told.chain {
            self.history
                .push(format!("chain {} -> {}", name(from), name(told.chain)));
        }
        if told.refused && !self.decision.mint_refused {
            self.history.push("mint refused: not compliant".to_owned());
        }
        if from.is_final() && !told.chain.is_final() {
            let detail = format!("{} is taken back by a fork: {}", name(from), name(told.chain));
            self.except(ExceptionKind::FinalTakenBack, None, None, detail)
                .await?;
        }
        self.decision.chain_leg = told.chain;
        self.decision.mint_refused = told.refused;
        self.decision.outcome_sequence = told.sequence;
        // Whatever was commanded is answered; a refusal of an execute is answered by the refund that follows.
        if !matches!(
            told.chain,
            ChainLeg::Queued | ChainLeg::Submitting | ChainLeg::Escrowed
        ) {
            self.decision.live_command = None;
            self.decision.redrive_count = 0;
        }
        Ok(())
    }

    pub fn told(&self) -> Told {
        Told {
            chain: self.decision.chain_leg,
            refused: self.decision.mint_refused,
            sequence: self.decision.outcome_sequence,
        }
    }

    /// Matches a payment that came before its intent, unless it waited too long.
    pub async fn match_first(&mut self) -> Result<(), DeskError> {
        let Some(first) = self.first.clone() else {
            return Ok(());
        };
        if !matches!(
            self.decision.payment_leg,
            PaymentLeg::Awaiting | PaymentLeg::Declined
        ) {
            return Ok(());
        }
        let limit = std::time::Duration::from_secs(self.desk.windows.orphan_match_seconds);
        if first.age_seconds > limit.as_secs_f64() {
            return self.orphaned().await;
        }
        let refunding = self.decision.refund_commanded;
        match match_payment(
            self.expected(),
            first.amount,
            self.decision.payment_leg,
            refunding,
        ) {
            FirstLeg::Becomes(leg) => self.confirm(leg, &first).await,
            FirstLeg::Owed => {
                self.owe(&first.receipt.to_string(), first.amount, "paid after the refund")
                    .await
            }
            FirstLeg::Orphan | FirstLeg::Unjudged => Ok(()),
        }
    }

    /// The payment is what the intent asks for, or another amount.
    pub async fn confirm(&mut self, leg: PaymentLeg, payment: &PaymentRow) -> Result<(), DeskError> {
        self.set_payment(leg);
        if leg == PaymentLeg::Mismatched {
            let detail = format!(
                "paid {} KES, the intent commits to another amount",
                payment.amount
            );
            self.except(
                ExceptionKind::AmountMismatch,
                Some(payment.receipt.to_string()),
                Some(payment.amount),
                detail,
            )
            .await?;
        }
        Ok(())
    }

    /// A payment without an intent is a person's business from now on.
    pub async fn orphaned(&mut self) -> Result<(), DeskError> {
        let Some(first) = self.first.clone() else {
            return Ok(());
        };
        let detail = "no intent asked for this payment in time".to_owned();
        self.except(
            ExceptionKind::OrphanPayment,
            Some(first.receipt.to_string()),
            Some(first.amount),
            detail,
        )
        .await
    }

    pub async fn owe(&mut self, receipt: &str, amount: Shillings, why: &str) -> Result<(), DeskError> {
        self.except(
            ExceptionKind::OwedToPayer,
            Some(receipt.to_owned()),
            Some(amount),
            why.to_owned(),
        )
        .await
    }

    /// Opens an exception; the same trouble only once.
    pub async fn except(
        &mut self,
        kind: ExceptionKind,
        receipt: Option<String>,
        amount: Option<Shillings>,
        detail: String,
    ) -> Result<(), DeskError> {
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
            self.events.push(Event::Opened {
                kind,
                detail: exception.detail,
            });
        }
        Ok(())
    }

    /// Writes back what changed. Commit, then announce.
    pub async fn close(self) -> Result<Closed, DeskError> {
        // An untouched row keeps its time: others judge by it how long nothing has happened.
        if self.decision != self.before || !self.history.is_empty() {
            let Because { cause, message_id } = self.because;
            decisions::save(self.tx, &self.decision, &self.history, cause, message_id).await?;
        }
        Outbox::Callback.push_many(self.tx, &self.outbox).await?;
        Ok(Closed {
            tx_ref: self.decision.tx_ref,
            sent: !self.outbox.is_empty(),
            events: self.events,
        })
    }
}

/// Whether the report was signed with a key that is not ours alone any more.
pub async fn is_compromised(session: &impl DbSession, report: &SignedReport) -> Result<bool, DeskError> {
    match report.signature.parse::<SignatureHeader>() {
        Ok(header) => {
            Ok(reports::mpesa_key_trust(session, &header.key_id).await? == MpesaKeyTrust::Compromised)
        }
        Err(_) => Ok(false),
    }
}
