//! `payments`: lists and accepts late reports, which count only once a person has accepted them.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::{Args, Subcommand};
use domain::ids::ReportId;
use messaging::wire::MpesaResult;
use messaging::{MessageMetadata, Outgoing, Publisher, Sealer, WorkQueue};
use runtime::KeyDirectory;
use serde_json::{Value, json};
use storage::ops::audit::{self, AuditEntry};
use storage::ops::reports::{self, ReportRow};
use storage::outbox::OutboxRow;
use storage::{DbClient, Outbox};

use crate::completion::Completion;
use crate::confirm::confirm;
use crate::context::CommandContext;
use crate::output::{Output, Style};
use crate::text::timestamp;
use crate::user_error::user_error;

/// List or accept late M-Pesa reports
#[derive(Subcommand)]
pub enum PaymentsCommand {
    Late(ListLateReports),
    Accept(AcceptLateReport),
}

/// List authentic reports whose timestamp was stale when they arrived; accepted ones only with --all
#[derive(Args)]
#[command(after_long_help = "Examples:\n  fiatrails payments late\n  fiatrails payments late --all --json")]
pub struct ListLateReports {
    /// Include accepted reports
    #[arg(long)]
    all: bool,
    /// Maximum number of reports
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..=10_000))]
    limit: i64,
}

/// Accept a late report, so that the normal decision takes it into account
///
/// The signature is verified again here and by every service that acts on the report. The acceptance is sent as a sealed
/// message that carries your name.
#[derive(Args)]
#[command(after_long_help = "Examples:\n  \
    fiatrails payments accept 018f0000-0000-7000-8000-000000000002 --reason 'M-Pesa outage, receipt checked'")]
pub struct AcceptLateReport {
    /// Id of the report, from the list
    report_id: ReportId,
    /// Reason, for the audit log
    #[arg(long)]
    reason: String,
    /// Do not ask for confirmation
    #[arg(long)]
    yes: bool,
}

pub async fn run(
    context: &CommandContext,
    out: &mut Output,
    command: &PaymentsCommand,
) -> Result<Completion> {
    match command {
        PaymentsCommand::Late(args) => late(context, out, args).await,
        PaymentsCommand::Accept(args) => accept(context, out, args).await,
    }
}

async fn late(context: &CommandContext, out: &mut Output, args: &ListLateReports) -> Result<Completion> {
    let found = reports::list(&context.client().await?, args.all, args.limit).await?;
    let value: Vec<Value> = found.iter().map(document).collect();
    out.show(&value, |page| {
        if found.is_empty() {
            page.styled(Style::Good, "no late report waits for a person");
            return;
        }
        let row = |r: &ReportRow| {
            let result = if r.paid { "paid" } else { "declined" };
            let by = r
                .accepted
                .as_ref()
                .map(|(who, _)| who.clone())
                .unwrap_or_default();
            vec![
                r.signed.report_id.to_string(),
                r.tx_ref.clone(),
                result.into(),
                format!("{} KES", r.amount_shillings),
                r.receipt.clone().unwrap_or_default(),
                timestamp(r.received_at),
                by,
            ]
        };
        let headers = [
            "report",
            "txRef",
            "result",
            "amount",
            "receipt",
            "received",
            "accepted by",
        ];
        page.table(&headers, &found.iter().map(row).collect::<Vec<_>>());
    })?;
    Ok(Completion::Success)
}

async fn accept(context: &CommandContext, out: &mut Output, args: &AcceptLateReport) -> Result<Completion> {
    let (who, why) = (context.who()?, crate::context::reason("--reason", &args.reason)?);
    let keys = KeyDirectory::open(&context.keys_dir()?)?;
    let mut client = context.client().await?;
    let report = find(&client, args.report_id).await?;
    if !report.late {
        return Err(user_error(
            "that report came in time",
            "it was decided upon already; see `fiatrails intent show`",
        ));
    }
    report
        .signed
        .open(&keys.current().mpesa)
        .with_context(|| format!("report {}", args.report_id))?;
    if let Some((by, at)) = &report.accepted {
        // The earlier command may have been interrupted before it sent the message.
        let sent = relay(context, &client).await?;
        return show(
            out,
            &report,
            &format!("accepted by {by} at {} already", timestamp(*at)),
            sent,
        );
    }
    let amount = &report.amount_shillings;
    confirm(
        args.yes,
        &format!("Let the late report of {amount} KES for {} count?", report.tx_ref),
    )?;

    let sealer = Sealer::new(keys.pipeline());
    let body = MpesaResult {
        report: report.signed.clone(),
        late: true,
        accepted_by: Some(who.to_owned()),
    };
    let metadata = MessageMetadata {
        message_id: context.ids.message_id(),
        causation_id: None,
        at: context.clock.now(),
        traceparent: None,
    };
    let message = sealer.seal(&body, metadata)?;
    let tx = client.begin().await?;
    reports::lock(&tx, args.report_id).await?;
    if reports::find(&tx, args.report_id)
        .await?
        .is_some_and(|report| report.accepted.is_some())
    {
        bail!("someone else accepted it at this moment");
    }
    let row = OutboxRow {
        message_id: message.message_id,
        queue: WorkQueue::MpesaResult.name(),
        subject: report.tx_ref.clone(),
        envelope: message.bytes,
    };
    Outbox::Ops.push_many(&tx, &[row]).await?;
    let target = args.report_id.to_string();
    let detail = json!({ "txRef": report.tx_ref, "receipt": report.receipt, "amountShillings": amount,
                         "messageId": message.message_id });
    audit::record(
        &tx,
        &AuditEntry {
            actor: who,
            action: reports::ACCEPT,
            target: &target,
            reason: why,
            detail,
        },
    )
    .await?;
    tx.commit().await?;
    let sent = relay(context, &client).await?;
    let after = find(&client, args.report_id).await?;
    show(out, &after, "accepted", sent)
}

async fn find(client: &DbClient, id: ReportId) -> Result<ReportRow> {
    let found = reports::find(client, id).await?;
    found.ok_or_else(|| {
        user_error(
            format!("there is no report {id}"),
            "`fiatrails payments late` lists those that wait",
        )
    })
}

/// Some of the messages have not left: the acceptance is not complete.
const fn is_unsent(left: u64) -> bool {
    left > 0
}

fn show(out: &mut Output, report: &ReportRow, what: &str, relayed: RelayedMessages) -> Result<Completion> {
    let RelayedMessages { sent, left } = relayed;
    let mut value = document(report);
    value["messagesSent"] = sent.into();
    value["messagesWaiting"] = left.into();
    out.show(&value, |page| {
        let style = if left == 0 { Style::Good } else { Style::Warn };
        page.styled(
            style,
            format!("report {} of {}: {what}", report.signed.report_id, report.tx_ref),
        );
        page.field("messages sent", sent.to_string());
        if left > 0 {
            page.field("messages waiting", left.to_string());
        }
    })?;
    if is_unsent(left) {
        crate::output::print_note(
            "a command that ended early still holds them: run this one again in half a minute",
        );
        return Ok(Completion::Negative);
    }
    Ok(Completion::Success)
}

/// What happened to the messages in the operators' outbox.
#[derive(Clone, Copy, Debug)]
struct RelayedMessages {
    sent: usize,
    /// Still in the outbox.
    left: u64,
}

/// Sends all rows of the operators' outbox that nobody else has claimed. /// A row leaves the outbox only after the broker's confirm.
async fn relay(context: &CommandContext, client: &DbClient) -> Result<RelayedMessages> {
    const HOLD: Duration = Duration::from_secs(30);
    let broker = context.broker()?;
    let publisher = Publisher::new(&broker);
    let mut sent = 0;
    loop {
        let claimed = Outbox::Ops.claim(client, 100, HOLD, &[]).await?;
        if claimed.is_empty() {
            break;
        }
        let mut outgoing = Vec::with_capacity(claimed.len());
        for row in &claimed {
            let queue: WorkQueue = row
                .queue
                .parse()
                .with_context(|| format!("ops_outbox row {}", row.id))?;
            outgoing.push(Outgoing::work(queue, row.message_id, row.envelope.clone()));
        }
        let results = publisher.publish_many(outgoing).await;
        let (done, failed): (Vec<_>, Vec<_>) = claimed
            .iter()
            .zip(results)
            .partition(|(_, result)| result.is_ok());
        let ids = |rows: &[(&storage::outbox::ClaimedRow, _)]| {
            rows.iter().map(|(row, _)| row.id).collect::<Vec<_>>()
        };
        Outbox::Ops.delete_many(client, &ids(&done)).await?;
        sent += done.len();
        if let Some((_, Err(error))) = failed.first() {
            Outbox::Ops.release_many(client, &ids(&failed)).await?;
            return Err(user_error(
                format!(
                    "accepted, but {} message(s) could not be sent: {error}",
                    failed.len()
                ),
                "nothing is lost: run the same command again once the broker is well",
            ));
        }
    }
    broker.close().await;
    let left = Outbox::Ops.backlog(client).await?.rows;
    Ok(RelayedMessages { sent, left })
}

fn document(report: &ReportRow) -> Value {
    json!({
        "reportId": report.signed.report_id,
        "txRef": report.tx_ref,
        "paid": report.paid,
        "amountShillings": report.amount_shillings,
        "receipt": report.receipt,
        "receivedAt": timestamp(report.received_at),
        "acceptedBy": report.accepted.as_ref().map(|(who, _)| who),
        "acceptedAt": report.accepted.as_ref().map(|(_, at)| timestamp(*at)),
    })
}
