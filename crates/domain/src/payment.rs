//! M-Pesa's reports about a txRef: one strict parser of the signed bytes for all services.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::money::{AmountError, Shillings};
use crate::phone::Phone;
use crate::signature::sha256;
use crate::text_type::text_type;
use crate::tx_ref::TxRef;

text_type!(
    /// M-Pesa's own number of a payment. 1..32 of `[A-Za-z0-9]`.
    MpesaReceipt,
    MpesaReceiptError,
    1..=32,
    |b| b.is_ascii_alphanumeric(),
    "a receipt is 1 to 32 letters and digits, e.g. NLJ7RT61SV"
);

/// Paid or declined. A paid report always has a receipt; a declined report may have one, which is part of its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentResult {
    Paid {
        receipt: MpesaReceipt,
    },
    Declined {
        receipt: Option<MpesaReceipt>,
        code: String,
        text: Option<String>,
    },
}

/// One parsed report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentReport {
    pub tx_ref: TxRef,
    pub amount: Shillings,
    pub phone: Phone,
    /// M-Pesa's own time of the payment, unix seconds; informative only.
    pub timestamp: i64,
    pub result: PaymentResult,
}

/// An invalid field: its JSON pointer (RFC 6901), a stable code, and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FieldError {
    pub pointer: String,
    pub code: &'static str,
    pub detail: String,
}

impl FieldError {
    pub fn new(pointer: impl Into<String>, code: &'static str, detail: impl fmt::Display) -> Self {
        Self {
            pointer: pointer.into(),
            code,
            detail: detail.to_string(),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReportParseError {
    #[error("the body is not a JSON object: {0}")]
    Json(String),
    #[error("{} field(s) are wrong, first {}", .0.len(), .0.first().map_or("", |e| e.pointer.as_str()))]
    Fields(Vec<FieldError>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawReport {
    tx_ref: Option<Value>,
    amount: Option<Value>,
    phone: Option<Value>,
    timestamp: Option<Value>,
    receipt: Option<Value>,
    // Absent means paid; `null` says nothing.
    #[serde(default, deserialize_with = "present")]
    result_code: Option<Value>,
    result_desc: Option<Value>,
    #[serde(default, deserialize_with = "present")]
    metadata: Option<Value>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

/// Distinguishes an explicit `null` from an absent field.
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(d).map(Some)
}

impl PaymentReport {
    /// Parses the raw body. Refuses unknown and repeated fields, numbers as amounts and a paid report without receipt; the
    /// error names every invalid field.
    pub fn parse(body: &[u8]) -> Result<Self, ReportParseError> {
        let raw: RawReport =
            serde_json::from_slice(body).map_err(|e| ReportParseError::Json(e.to_string()))?;
        let mut errors = unknown_fields(&raw.unknown);
        let tx_ref = required_text(raw.tx_ref.as_ref(), "/txRef", &mut errors);
        let amount = required_amount(raw.amount.as_ref(), &mut errors);
        let phone = required_text(raw.phone.as_ref(), "/phone", &mut errors);
        let timestamp = required_timestamp(raw.timestamp.as_ref(), &mut errors);
        let result = result(&raw, &mut errors);
        if raw.metadata.as_ref().is_some_and(|m| !m.is_object()) {
            errors.push(FieldError::new("/metadata", "invalid", "metadata is an object"));
        }
        match (tx_ref, amount, phone, timestamp, result) {
            (Some(tx_ref), Some(amount), Some(phone), Some(timestamp), Some(result)) if errors.is_empty() => {
                Ok(Self {
                    tx_ref,
                    amount,
                    phone,
                    timestamp,
                    result,
                })
            }
            _ => Err(ReportParseError::Fields(errors)),
        }
    }

    pub fn receipt(&self) -> Option<&MpesaReceipt> {
        match &self.result {
            PaymentResult::Paid { receipt } => Some(receipt),
            PaymentResult::Declined { receipt, .. } => receipt.as_ref(),
        }
    }

    pub fn is_paid(&self) -> bool {
        matches!(self.result, PaymentResult::Paid { .. })
    }

    /// Equal for reports that say the same: txRef, receipt, amount and paid-or-not; nothing else counts
    /// (docs/STATES.md).
    pub fn content_hash(&self) -> [u8; 32] {
        let receipt = self.receipt().map_or("", MpesaReceipt::as_str);
        let paid = if self.is_paid() { "paid" } else { "declined" };
        // None of the parts can hold a line feed.
        sha256(format!("{}\n{receipt}\n{}\n{paid}", self.tx_ref, self.amount).as_bytes())
    }
}

/// One error for each unknown field.
pub fn unknown_fields(unknown: &BTreeMap<String, Value>) -> Vec<FieldError> {
    let pointer = |name: &String| format!("/{}", name.replace('~', "~0").replace('/', "~1"));
    unknown
        .keys()
        .map(|name| FieldError::new(pointer(name), "unknown-field", "this field is not known"))
        .collect()
}

/// Parses a required string field; on failure records the error and returns `None`.
pub fn required_text<T>(value: Option<&Value>, pointer: &str, errors: &mut Vec<FieldError>) -> Option<T>
where
    T: FromStr,
    T::Err: fmt::Display,
{
    let text = match value {
        None | Some(Value::Null) => {
            errors.push(FieldError::new(pointer, "required", "this field is required"));
            return None;
        }
        Some(Value::String(text)) => text,
        Some(_) => {
            errors.push(FieldError::new(
                pointer,
                "not-a-string",
                "write this field as a string",
            ));
            return None;
        }
    };
    text.parse()
        .map_err(|e: T::Err| errors.push(FieldError::new(pointer, "invalid", e)))
        .ok()
}

fn required_amount(value: Option<&Value>, errors: &mut Vec<FieldError>) -> Option<Shillings> {
    if let Some(Value::String(text)) = value
        && let Err(AmountError::NotWhole) = text.parse::<Shillings>()
    {
        errors.push(FieldError::new("/amount", "not-whole", AmountError::NotWhole));
        return None;
    }
    required_text(value, "/amount", errors)
}

fn required_timestamp(value: Option<&Value>, errors: &mut Vec<FieldError>) -> Option<i64> {
    let seconds = value
        .and_then(Value::as_i64)
        .filter(|s| (0..1_000_000_000_000).contains(s));
    if seconds.is_none() {
        let code = if value.is_none() { "required" } else { "invalid" };
        errors.push(FieldError::new(
            "/timestamp",
            code,
            "write the time as whole unix seconds, a JSON number",
        ));
    }
    seconds
}

fn result(raw: &RawReport, errors: &mut Vec<FieldError>) -> Option<PaymentResult> {
    let code = match &raw.result_code {
        None => "0".to_owned(),
        Some(Value::Number(n)) if n.is_i64() => n.to_string(),
        Some(Value::String(s)) if (1..=32).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_graphic()) => {
            s.clone()
        }
        Some(_) => {
            errors.push(FieldError::new(
                "/resultCode",
                "invalid",
                "an integer or a short string; 0 means paid",
            ));
            return None;
        }
    };
    let text = match &raw.result_desc {
        None | Some(Value::Null) => None,
        Some(Value::String(text)) => Some(text.chars().take(256).collect()),
        Some(_) => {
            errors.push(FieldError::new(
                "/resultDesc",
                "not-a-string",
                "write this field as a string",
            ));
            return None;
        }
    };
    let receipt = match &raw.receipt {
        None | Some(Value::Null) if code != "0" => None,
        value => Some(required_text(value.as_ref(), "/receipt", errors)?),
    };
    match receipt {
        Some(receipt) if code == "0" => Some(PaymentResult::Paid { receipt }),
        receipt => Some(PaymentResult::Declined { receipt, code, text }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn valid() -> Value {
        json!({"txRef":"TX0000000001","amount":"150","phone":"254708374149","timestamp":1_767_225_600,
               "receipt":"NLJ7RT61SV","resultCode":0})
    }

    fn parse(value: &Value) -> Result<PaymentReport, ReportParseError> {
        PaymentReport::parse(value.to_string().as_bytes())
    }

    fn with(name: &str, value: Value) -> Value {
        let mut report = valid();
        report[name] = value;
        report
    }

    fn without(name: &str) -> Value {
        let mut report = valid();
        report.as_object_mut().unwrap().remove(name);
        report
    }

    fn codes(value: &Value) -> Vec<(String, &'static str)> {
        match parse(value) {
            Err(ReportParseError::Fields(errors)) => {
                errors.into_iter().map(|e| (e.pointer, e.code)).collect()
            }
            other => panic!("{value}: {other:?}"),
        }
    }

    #[test]
    fn zero_in_any_spelling_and_absence_mean_paid() {
        for report in [valid(), with("resultCode", json!("0")), without("resultCode")] {
            assert!(parse(&report).unwrap().is_paid(), "{report}");
        }
        for code in [json!(1032), json!("1032"), json!("C2B00011"), json!(-1)] {
            assert!(!parse(&with("resultCode", code)).unwrap().is_paid());
        }
    }

    #[test]
    fn a_declined_report_needs_no_receipt_but_a_paid_one_does() {
        let mut declined = without("receipt");
        declined["resultCode"] = json!(1032);
        assert!(parse(&declined).is_ok());
        assert_eq!(codes(&without("receipt")), [("/receipt".to_owned(), "required")]);
    }

    #[test]
    fn every_invalid_field_is_named() {
        assert_eq!(
            codes(&with("amount", json!(150))),
            [("/amount".to_owned(), "not-a-string")]
        );
        assert_eq!(
            codes(&with("amount", json!("150.50"))),
            [("/amount".to_owned(), "not-whole")]
        );
        assert_eq!(
            codes(&with("txRef", json!("a b"))),
            [("/txRef".to_owned(), "invalid")]
        );
        assert_eq!(
            codes(&with("surprise", json!(1))),
            [("/surprise".to_owned(), "unknown-field")]
        );
        assert_eq!(
            codes(&with("timestamp", json!("now"))),
            [("/timestamp".to_owned(), "invalid")]
        );
        assert_eq!(
            codes(&with("metadata", json!(null))),
            [("/metadata".to_owned(), "invalid")]
        );
        for code in [json!(0.5), json!(null), json!(""), json!(false)] {
            assert_eq!(
                codes(&with("resultCode", code)),
                [("/resultCode".to_owned(), "invalid")]
            );
        }
        assert_eq!(codes(&json!({})).len(), 5);
    }

    #[test]
    fn repeated_fields_are_refused() {
        let body =
            br#"{"txRef":"A","txRef":"B","amount":"1","phone":"254708374149","timestamp":1,"receipt":"R"}"#;
        assert!(matches!(
            PaymentReport::parse(body),
            Err(ReportParseError::Json(_))
        ));
    }

    #[test]
    fn only_four_facts_count_as_content() {
        let base = parse(&valid()).unwrap().content_hash();
        for same in [
            with("phone", json!("254700000000")),
            with("amount", json!("150.00")),
            with("timestamp", json!(5)),
        ] {
            assert_eq!(parse(&same).unwrap().content_hash(), base, "{same}");
        }
        for other in [
            with("amount", json!("151")),
            with("receipt", json!("X")),
            with("resultCode", json!(1)),
        ] {
            assert_ne!(parse(&other).unwrap().content_hash(), base, "{other}");
        }
        let mut declined = with("resultCode", json!(1032));
        let named = parse(&declined).unwrap();
        assert_eq!(named.receipt().map(MpesaReceipt::as_str), Some("NLJ7RT61SV"));
        declined["receipt"] = json!(null);
        let unnamed = parse(&declined).unwrap().content_hash();
        assert_ne!(
            named.content_hash(),
            unnamed,
            "a declined report's receipt is content"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = PaymentReport::parse(&bytes);
        }
    }
}
