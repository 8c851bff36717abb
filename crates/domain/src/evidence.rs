//! The signed bytes of an M-Pesa report as received, and the check whether they pay for an intent. Callback service and
//! executor both use this check, each with its own secrets, right before they act (docs/SEALS.md).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{Preimage, ReportId};
use crate::key_ring::KeyRing;
use crate::money::AmountError;
use crate::payment::{PaymentReport, ReportParseError};
use crate::signature::{SignatureHeader, SignedRequest, SigningScheme};

/// One report exactly as received: enough to verify its MAC again. Nothing in it is trusted before that.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SignedReport {
    pub report_id: ReportId,
    /// Raw body.
    #[serde(with = "base64_bytes")]
    pub body: Vec<u8>,
    /// Text of `X-Request-Timestamp`.
    pub timestamp: String,
    /// Text of `X-Mpesa-Signature`.
    pub signature: String,
    /// Raw path as received.
    pub path: String,
    /// Raw query without `?`, or empty.
    pub query: String,
    /// When the gateway received it, unix ms.
    pub received_at: i64,
}

impl fmt::Debug for SignedReport {
    /// Leaves out the body: it contains the payer's phone, which must not get into a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedReport")
            .field("report_id", &self.report_id)
            .field("body_bytes", &self.body.len())
            .field("timestamp", &self.timestamp)
            .field("received_at", &self.received_at)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    #[error("no secret for key {0} is mounted here; wait for it")]
    UnknownKey(String),
    #[error("the report's signature does not verify: the stored bytes were changed")]
    Tampered,
    #[error("the report does not parse: {0}")]
    Unparsable(#[from] ReportParseError),
    #[error("the report names another txRef")]
    OtherTxRef,
    #[error("the report says the payment was declined")]
    NotPaid,
    #[error("the report is for another amount than the intent commits to")]
    OtherAmount,
    #[error("the intent's amount is not in whole shillings: {0}")]
    Amount(#[from] AmountError),
}

impl SignedReport {
    /// Verifies the M-Pesa MAC over the stored bytes and parses them.
    pub fn open(&self, keys: &KeyRing) -> Result<PaymentReport, EvidenceError> {
        let header: SignatureHeader = self.signature.parse().map_err(|_| EvidenceError::Tampered)?;
        let secret = keys
            .get(&header.key_id)
            .ok_or_else(|| EvidenceError::UnknownKey(header.key_id.to_string()))?;
        let signed = SignedRequest {
            scheme: SigningScheme::Mpesa,
            key_id: &header.key_id,
            timestamp: &self.timestamp,
            method: "POST",
            path: &self.path,
            query: &self.query,
            idempotency_key: "",
            body: &self.body,
        };
        if !signed.verify(secret, &header.macs) {
            return Err(EvidenceError::Tampered);
        }
        Ok(PaymentReport::parse(&self.body)?)
    }

    /// The condition of every mint: the report is authentic, paid, for this txRef, and of exactly the intent's amount.
    pub fn pays_for(&self, intent: &Preimage, keys: &KeyRing) -> Result<PaymentReport, EvidenceError> {
        let report = self.open(keys)?;
        if report.tx_ref != intent.tx_ref {
            return Err(EvidenceError::OtherTxRef);
        }
        if !report.is_paid() {
            return Err(EvidenceError::NotPaid);
        }
        if report.amount != intent.amount.to_shillings()? {
            return Err(EvidenceError::OtherAmount);
        }
        Ok(report)
    }
}

/// Standard base64 with padding, canonical on reading.
mod base64_bytes {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u8>, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(d)?;
        STANDARD.decode(text.as_bytes()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::country::CountryCode;
    use crate::signature::HmacSecret;

    const PAID: &str = r#"{"txRef":"TX0000000001","amount":"150","phone":"254708374149","timestamp":1767225600,"receipt":"NLJ7RT61SV","resultCode":0}"#;

    fn keys() -> KeyRing {
        [(
            "mk_test_0001".parse().unwrap(),
            HmacSecret::from_bytes(&(0..32).collect::<Vec<u8>>()).unwrap(),
        )]
        .into_iter()
        .collect()
    }

    fn signed(body: &str) -> SignedReport {
        let key_id = "mk_test_0001".parse().unwrap();
        let request = SignedRequest {
            scheme: SigningScheme::Mpesa,
            key_id: &key_id,
            timestamp: "1767225600",
            method: "POST",
            path: "/callbacks/mpesa",
            query: "",
            idempotency_key: "",
            body: body.as_bytes(),
        };
        SignedReport {
            report_id: "018f0000-0000-7000-8000-000000000002".parse().unwrap(),
            body: body.as_bytes().to_vec(),
            timestamp: "1767225600".into(),
            signature: request.sign(keys().get(&key_id).unwrap()).to_string(),
            path: "/callbacks/mpesa".into(),
            query: String::new(),
            received_at: 1_767_225_600_000,
        }
    }

    fn intent(amount: &str) -> Preimage {
        Preimage {
            chain_id: 31430,
            escrow: "0x5FbDB2315678afecb367f032d93F642f64180aa3".parse().unwrap(),
            depositor: "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65".parse().unwrap(),
            user: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse().unwrap(),
            amount: amount.parse().unwrap(),
            country_code: CountryCode::KES,
            tx_ref: "TX0000000001".parse().unwrap(),
        }
    }

    #[test]
    fn debug_output_hides_the_payer() {
        let shown = format!("{:?}", signed(PAID));
        assert!(
            !shown.contains("254708374149") && !shown.contains("v1="),
            "{shown}"
        );
    }

    #[test]
    fn a_report_travels_byte_for_byte_as_canonical_base64() {
        let report = SignedReport {
            body: vec![0, 0xff, b'{', b'"'],
            ..signed(PAID)
        };
        let sent = serde_json::to_value(&report).unwrap();
        assert_eq!(sent["body"], "AP97Ig==");
        assert_eq!(
            serde_json::from_value::<SignedReport>(sent.clone()).unwrap(),
            report
        );
        for other in ["AP97Ig", "AP97Ih==", "AP97 Ig=="] {
            let mut changed = sent.clone();
            changed["body"] = other.into();
            assert!(
                serde_json::from_value::<SignedReport>(changed).is_err(),
                "{other}"
            );
        }
    }

    #[test]
    fn a_genuine_report_of_the_right_amount_pays() {
        assert!(
            signed(PAID)
                .pays_for(&intent("150000000000000000000"), &keys())
                .is_ok()
        );
    }

    #[test]
    fn no_other_report_pays() {
        let right = intent("150000000000000000000");
        let error_of =
            |report: &SignedReport, intent: &Preimage| report.pays_for(intent, &keys()).unwrap_err();
        assert_eq!(
            error_of(&signed(PAID), &intent("151000000000000000000")),
            EvidenceError::OtherAmount
        );
        assert!(matches!(
            error_of(&signed(PAID), &intent("150000000000000000001")),
            EvidenceError::Amount(_)
        ));
        let other = Preimage {
            tx_ref: "TX0000000002".parse().unwrap(),
            ..right.clone()
        };
        assert_eq!(error_of(&signed(PAID), &other), EvidenceError::OtherTxRef);
        assert_eq!(
            error_of(&signed(&PAID.replace(":0}", ":1032}")), &right),
            EvidenceError::NotPaid
        );
        assert!(matches!(
            error_of(&signed("{}"), &right),
            EvidenceError::Unparsable(_)
        ));
    }

    #[test]
    fn any_changed_byte_is_detected() {
        let right = intent("150000000000000000000");
        let base = signed(PAID);
        let body = PAID.replace("\"150\"", "\"950\"").into_bytes();
        for changed in [
            SignedReport { body, ..base.clone() },
            SignedReport {
                timestamp: "1767225601".into(),
                ..base.clone()
            },
            SignedReport {
                path: "/api/v1/callbacks/mpesa".into(),
                ..base.clone()
            },
            SignedReport {
                query: "a=b".into(),
                ..base.clone()
            },
            SignedReport {
                signature: "garbage".into(),
                ..base.clone()
            },
        ] {
            assert_eq!(changed.pays_for(&right, &keys()), Err(EvidenceError::Tampered));
        }
        let unknown = SignedReport {
            signature: base.signature.replace("mk_test_0001", "mk_test_0002"),
            ..base
        };
        assert!(matches!(
            unknown.pays_for(&right, &keys()),
            Err(EvidenceError::UnknownKey(_))
        ));
    }
}
