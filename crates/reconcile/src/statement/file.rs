//! Parses a statement as M-Pesa's organisation portal exports it: CSV with some lines about the account, a line of column
//! names, and one line per transaction. Times are East Africa Time.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use csv::{ReaderBuilder, StringRecord, StringRecordsIntoIter};
use time::format_description::{BorrowedFormatItem, parse_borrowed};
use time::macros::offset;
use time::{OffsetDateTime, PrimitiveDateTime, UtcOffset};

use super::StatementError;

/// Maximum number of lines before the column names.
const PREAMBLE: usize = 50;
const EAST_AFRICA: UtcOffset = offset!(+3);
const TIME_FORMS: [&str; 6] = [
    "[day]-[month]-[year] [hour]:[minute]:[second]",
    "[year]-[month]-[day] [hour]:[minute]:[second]",
    "[day]/[month]/[year] [hour]:[minute]:[second]",
    "[day]-[month]-[year] [hour]:[minute]",
    "[year]-[month]-[day] [hour]:[minute]",
    "[day]/[month]/[year] [hour]:[minute]",
];

/// One transaction of the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatementRow {
    pub receipt: String,
    pub completed_at: OffsetDateTime,
    pub completed: bool,
    pub status: String,
    pub details: String,
    pub paid_in_cents: u64,
    pub withdrawn_cents: u64,
    /// The account that the payer entered: our txRef.
    pub account: Option<String>,
    /// The transaction that this one reverses.
    pub linked: Option<String>,
}

impl StatementRow {
    pub fn is_paid_in(&self) -> bool {
        self.completed && self.paid_in_cents > 0
    }
}

/// The positions of the columns that we read.
struct StatementColumns {
    receipt: usize,
    completion: usize,
    status: usize,
    paid_in: usize,
    withdrawn: Option<usize>,
    details: Option<usize>,
    account: Option<usize>,
    linked: Option<usize>,
}

pub fn open(
    path: &Path,
) -> Result<impl Iterator<Item = Result<StatementRow, StatementError>>, StatementError> {
    rows(File::open(path)?)
}

fn rows<R: Read>(source: R) -> Result<StatementRows<R>, StatementError> {
    let mut records = ReaderBuilder::new()
        .has_headers(false)
        .flexible(true)
        .from_reader(source)
        .into_records();
    for record in records.by_ref().take(PREAMBLE) {
        let record = record?;
        let names: Vec<String> = record.iter().map(bare).collect();
        if names.iter().any(|name| name == "receiptno") {
            let columns = StatementColumns::of(&names)?;
            return Ok(StatementRows { records, columns });
        }
    }
    Err(StatementError::NoColumnNames(PREAMBLE))
}

struct StatementRows<R> {
    records: StringRecordsIntoIter<R>,
    columns: StatementColumns,
}

impl<R: Read> Iterator for StatementRows<R> {
    type Item = Result<StatementRow, StatementError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let record = match self.records.next()? {
                Ok(record) => record,
                Err(error) => return Some(Err(error.into())),
            };
            // Total lines and empty lines have no receipt.
            let receipt = record.get(self.columns.receipt).map_or("", str::trim);
            if receipt.is_empty() {
                continue;
            }
            let row = self.columns.read(&record);
            return Some(row.map_err(|what| StatementError::Row {
                receipt: receipt.to_owned(),
                what,
            }));
        }
    }
}

/// Normalizes a column name: letters and digits only, in lower case.
fn bare(name: &str) -> String {
    name.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect()
}

impl StatementColumns {
    fn of(names: &[String]) -> Result<Self, StatementError> {
        let find = |wanted: &[&str]| names.iter().position(|name| wanted.contains(&name.as_str()));
        let need = |wanted: &str, shown: &'static str| find(&[wanted]).ok_or(StatementError::NoColumn(shown));
        Ok(Self {
            receipt: need("receiptno", "Receipt No.")?,
            completion: need("completiontime", "Completion Time")?,
            status: need("transactionstatus", "Transaction Status")?,
            paid_in: need("paidin", "Paid In")?,
            withdrawn: find(&["withdrawn"]),
            details: find(&["details"]),
            account: find(&["acno", "accountno", "accountnumber"]),
            linked: find(&["linkedtransactionid"]),
        })
    }

    /// The error says which column is in an unknown form.
    fn read(&self, record: &StringRecord) -> Result<StatementRow, String> {
        let text = |column: Option<usize>| {
            let text = column.and_then(|at| record.get(at)).unwrap_or_default().trim();
            (!text.is_empty()).then(|| text.to_owned())
        };
        let status = text(Some(self.status)).unwrap_or_default();
        let completion = text(Some(self.completion)).unwrap_or_default();
        let cents = |column: Option<usize>, name: &str| {
            let amount = text(column).unwrap_or_default();
            cents(&amount).ok_or_else(|| format!("{name} {amount:?} is no amount"))
        };
        Ok(StatementRow {
            receipt: text(Some(self.receipt)).unwrap_or_default(),
            completed_at: at(&completion)
                .ok_or_else(|| format!("Completion Time {completion:?} is no time"))?,
            completed: status.eq_ignore_ascii_case("completed"),
            status,
            details: text(self.details).unwrap_or_default(),
            paid_in_cents: cents(Some(self.paid_in), "Paid In")?,
            withdrawn_cents: cents(self.withdrawn, "Withdrawn")?,
            account: text(self.account),
            linked: text(self.linked),
        })
    }
}

fn at(text: &str) -> Option<OffsetDateTime> {
    TIME_FORMS.iter().find_map(|form| {
        let form: Vec<BorrowedFormatItem<'_>> = parse_borrowed::<2>(form).ok()?;
        let local = PrimitiveDateTime::parse(text, &form).ok()?;
        Some(local.assume_offset(EAST_AFRICA))
    })
}

/// Parses an amount as cents: `1,150.00` is 115000, an empty text is 0. The sign of a withdrawal is ignored.
fn cents(text: &str) -> Option<u64> {
    let text: String = text.chars().filter(|c| *c != ',').collect();
    let text = text.strip_prefix('-').unwrap_or(&text);
    if text.is_empty() {
        return Some(0);
    }
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    // A third decimal would be lost.
    if whole.is_empty() || !digits(whole) || !digits(part) || part.len() > 2 {
        return None;
    }
    let part: u64 = format!("{part:0<2}").parse().ok()?;
    whole.parse::<u64>().ok()?.checked_mul(100)?.checked_add(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATEMENT: &str = "\u{feff}Account Holder:,ACME LTD,,\r\n\
        Short Code:,600000,,\r\n\
        Time Period:,From 02-11-2025 To 03-11-2025,,\r\n\
        ,,,\r\n\
        Receipt No.,Completion Time,Initiation Time,Details,Transaction Status,Paid In,Withdrawn,Balance,Balance Confirmed,Reason Type,Other Party Info,Linked Transaction ID,A/C No.\r\n\
        SK21AAAAA1,02-11-2025 10:15:30,02-11-2025 10:15:28,\"Pay Bill from 2547***149, A/C TX1\",Completed,\"1,150.00\",,\"5,000.00\",true,Pay Bill,2547***149,,TX1\r\n\
        SK21AAAAA2,02-11-2025 11:00:00,,Reversal of SK21AAAAA0,Completed,,-20.00,,,Reversal,,SK21AAAAA0,\r\n\
        ,,,Total,,1150.00,,,,,,,\r\n";

    #[test]
    fn the_export_of_the_mpesa_portal_is_parsed() {
        let rows: Vec<StatementRow> = rows(STATEMENT.as_bytes()).unwrap().map(Result::unwrap).collect();
        assert_eq!(rows.len(), 2, "{rows:?}");
        let paid = &rows[0];
        assert_eq!(
            (paid.receipt.as_str(), paid.paid_in_cents, paid.account.as_deref()),
            ("SK21AAAAA1", 115_000, Some("TX1"))
        );
        // 10:15:30 in Nairobi.
        assert_eq!(paid.completed_at.unix_timestamp(), 1_762_067_730);
        assert!(paid.is_paid_in());
        let reversal = &rows[1];
        assert_eq!(
            (
                reversal.withdrawn_cents,
                reversal.linked.as_deref(),
                reversal.is_paid_in()
            ),
            (2000, Some("SK21AAAAA0"), false)
        );
    }

    #[test]
    fn an_unreadable_row_is_reported_with_its_receipt() {
        let text = STATEMENT.replace("\"1,150.00\",,\"5", "\"1,150.001\",,\"5");
        let error = rows(text.as_bytes()).unwrap().next().unwrap().unwrap_err();
        let shown = error.to_string();
        assert!(
            shown.contains("SK21AAAAA1") && shown.contains("1,150.001"),
            "{shown}"
        );
        let error = rows("a,b\n1,2\n".as_bytes()).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("Receipt No."), "{error}");
        let error = rows("Receipt No.,Paid In\n".as_bytes()).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("Completion Time"), "{error}");
    }

    #[test]
    fn amounts_and_times_in_every_form() {
        for (text, wanted) in [
            ("150", Some(15000)),
            ("150.5", Some(15050)),
            ("1,000,000.01", Some(100_000_001)),
            ("", Some(0)),
            ("-20.00", Some(2000)),
            ("1.234", None),
            ("1e3", None),
            (".5", None),
        ] {
            assert_eq!(cents(text), wanted, "{text}");
        }
        for text in [
            "02-11-2025 10:15:30",
            "2025-11-02 10:15:30",
            "02/11/2025 10:15:30",
        ] {
            assert_eq!(at(text).unwrap().unix_timestamp(), 1_762_067_730, "{text}");
        }
        assert_eq!(at("2 November"), None);
    }
}
