//! Stored reports as the callback service reads them, and `report_outcomes`: the result of processing each.

use domain::evidence::SignedReport;
use domain::ids::ReportId;
use domain::key_state::KeyState;
use domain::report_outcome::ReportOutcome;
use domain::signature::KeyId;
use domain::tx_ref::TxRef;
use time::OffsetDateTime;

use crate::error::StorageError;
use crate::pool::DbTransaction;
use crate::row::RowReader;
use crate::session::{DbSession, execute, query_one, query_opt};

statements! {
    OUTCOME = "select outcome from report_outcomes where report_id = $1";
    SET_OUTCOME =
        "insert into report_outcomes (report_id, tx_ref, outcome) values ($1, $2, $3) \
         on conflict (report_id) do update set outcome = excluded.outcome, processed_at = clock_timestamp()";
    FIND_SIGNED =
        "select report_id, body, timestamp_header, signature_header, path, query, received_at \
         from published.mpesa_reports where report_id = $1";
    HAS_ANY = "select exists (select from published.mpesa_reports where tx_ref = $1) as found";
    MPESA_KEY_STATE = "select state from published.api_keys where key_id = $1 and purpose = 'mpesa'";
}

/// Whether the operators trust an M-Pesa key. A key without a row is trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MpesaKeyTrust {
    Trusted,
    /// Somebody else who holds the secret could forge reports: no new decision may follow from them.
    Compromised,
}

pub async fn outcome(tx: &DbTransaction<'_>, id: ReportId) -> Result<Option<ReportOutcome>, StorageError> {
    let row = query_opt(tx, OUTCOME, &[&id.0]).await?;
    row.map(|row| RowReader::new(&row, "report_outcomes", id).parse("outcome"))
        .transpose()
}

pub async fn set_outcome(
    session: &impl DbSession,
    id: ReportId,
    tx_ref: &str,
    outcome: ReportOutcome,
) -> Result<(), StorageError> {
    execute(session, SET_OUTCOME, &[&id.0, &tx_ref, &outcome.name()]).await?;
    Ok(())
}

/// The signed bytes as they are stored now.
pub async fn find_signed(tx: &DbTransaction<'_>, id: ReportId) -> Result<Option<SignedReport>, StorageError> {
    let Some(row) = query_opt(tx, FIND_SIGNED, &[&id.0]).await? else {
        return Ok(None);
    };
    let reader = RowReader::new(&row, "mpesa_reports", id);
    let received_at: OffsetDateTime = reader.get("received_at")?;
    Ok(Some(SignedReport {
        report_id: id,
        body: reader.get("body")?,
        timestamp: reader.get("timestamp_header")?,
        signature: reader.get("signature_header")?,
        path: reader.get("path")?,
        query: reader.get("query")?,
        received_at: received_at.unix_timestamp() * 1000 + i64::from(received_at.millisecond()),
    }))
}

/// Whether any report of the txRef is stored, processed or not, late or not.
pub async fn has_any(tx: &DbTransaction<'_>, tx_ref: &TxRef) -> Result<bool, StorageError> {
    Ok(query_one(tx, HAS_ANY, &[&tx_ref.as_str()])
        .await?
        .try_get("found")?)
}

pub async fn mpesa_key_trust(
    session: &impl DbSession,
    key_id: &KeyId,
) -> Result<MpesaKeyTrust, StorageError> {
    let Some(row) = query_opt(session, MPESA_KEY_STATE, &[&key_id.as_str()]).await? else {
        return Ok(MpesaKeyTrust::Trusted);
    };
    let state: KeyState = RowReader::new(&row, "api_keys", key_id).parse("state")?;
    Ok(if state.is_trusted() {
        MpesaKeyTrust::Trusted
    } else {
        MpesaKeyTrust::Compromised
    })
}
