//! The body of `POST /mint-intents`: parsed once, then checked against the policy.

use std::borrow::Cow;
use std::collections::BTreeMap;

use domain::address::Address;
use domain::country::CountryCode;
use domain::money::BaseUnits;
use domain::payment::{FieldError, required_text, unknown_fields};
use domain::policy::Policy;
use domain::tx_ref::TxRef;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Code, Problem};

/// A well-formed request for a mint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMintIntent {
    pub user: Address,
    pub amount: BaseUnits,
    pub country_code: CountryCode,
    pub tx_ref: TxRef,
}

/// The expected body, parsed without building a JSON tree.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StrictBody<'a> {
    #[serde(borrow)]
    user: Cow<'a, str>,
    #[serde(borrow)]
    amount: Cow<'a, str>,
    #[serde(borrow)]
    country_code: Cow<'a, str>,
    #[serde(borrow)]
    tx_ref: Cow<'a, str>,
}

/// Any JSON object, parsed only to say what is wrong with it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LenientBody {
    user: Option<Value>,
    amount: Option<Value>,
    country_code: Option<Value>,
    tx_ref: Option<Value>,
    #[serde(flatten)]
    unknown: BTreeMap<String, Value>,
}

impl NewMintIntent {
    /// Parses the body; the error names every wrong field. Numbers are not amounts; unknown and repeated fields are refused.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        match serde_json::from_slice::<StrictBody<'_>>(body)
            .ok()
            .and_then(|exact| exact.parse())
        {
            Some(intent) => Ok(intent),
            None => Self::parse_with_errors(body),
        }
    }

    fn parse_with_errors(body: &[u8]) -> Result<Self, Problem> {
        let raw: LenientBody = serde_json::from_slice(body).map_err(|_| not_an_object(body))?;
        let mut errors = unknown_fields(&raw.unknown);
        let user = required_text(raw.user.as_ref(), "/user", &mut errors);
        let amount = required_text(raw.amount.as_ref(), "/amount", &mut errors);
        let country_code = required_text(raw.country_code.as_ref(), "/countryCode", &mut errors);
        let tx_ref = required_text(raw.tx_ref.as_ref(), "/txRef", &mut errors);
        match (user, amount, country_code, tx_ref) {
            (Some(user), Some(amount), Some(country_code), Some(tx_ref)) if errors.is_empty() => Ok(Self {
                user,
                amount,
                country_code,
                tx_ref,
            }),
            _ => Err(Problem::fields(errors)),
        }
    }

    /// Checks the limits that depend only on the request. The range comes first: below the minimum no amount is whole.
    pub fn check_policy(&self, policy: &Policy) -> Result<(), Problem> {
        let refuse = |code, detail: String| Err(Problem::new(code, detail));
        let (min, max) = (policy.mint.min_amount, policy.mint.max_amount);
        let country = policy.country_token.country_code;
        if self.country_code != country {
            return refuse(Code::CountryNotSupported, format!("Supported: {country}."));
        }
        if self.amount < min {
            return refuse(
                Code::AmountBelowMinimum,
                format!("The least amount is {min} base units."),
            );
        }
        if self.amount > max {
            return refuse(
                Code::AmountAboveMaximum,
                format!("The greatest amount is {max} base units."),
            );
        }
        if self.amount.to_shillings().is_err() {
            let detail = "Write a multiple of 1000000000000000000 base units: one shilling.";
            return refuse(Code::AmountNotWhole, detail.to_owned());
        }
        Ok(())
    }
}

impl StrictBody<'_> {
    fn parse(&self) -> Option<NewMintIntent> {
        Some(NewMintIntent {
            user: self.user.parse().ok()?,
            amount: self.amount.parse().ok()?,
            country_code: self.country_code.parse().ok()?,
            tx_ref: self.tx_ref.parse().ok()?,
        })
    }
}

/// Explains why a body is not a JSON object in which each field occurs once.
pub fn not_an_object(body: &[u8]) -> Problem {
    if serde_json::from_slice::<serde::de::IgnoredAny>(body).is_err() {
        return Problem::new(Code::InvalidJson, "Send one JSON object in UTF-8.");
    }
    let detail = "the body is one JSON object in which each field comes once";
    Problem::fields(vec![FieldError::new("", "invalid", detail)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn valid() -> Value {
        json!({"user": "0x70997970C51812dc3A010C7d01b50e0d17dc79C8", "amount": "150000000000000000000",
               "countryCode": "KES", "txRef": "TX0000000001"})
    }

    fn with(name: &str, value: Value) -> Value {
        let mut body = valid();
        body[name] = value;
        body
    }

    fn errors(body: &Value) -> Vec<(String, &'static str)> {
        let problem = NewMintIntent::parse(body.to_string().as_bytes()).unwrap_err();
        assert_eq!(problem.code, Code::ValidationFailed, "{body}");
        problem.errors.into_iter().map(|e| (e.pointer, e.code)).collect()
    }

    #[test]
    fn every_invalid_field_is_named() {
        assert!(NewMintIntent::parse(valid().to_string().as_bytes()).is_ok());
        assert_eq!(
            errors(&with("amount", json!(150))),
            [("/amount".to_owned(), "not-a-string")]
        );
        assert_eq!(
            errors(&with("amount", json!("1.5"))),
            [("/amount".to_owned(), "invalid")]
        );
        assert_eq!(
            errors(&with("user", json!(null))),
            [("/user".to_owned(), "required")]
        );
        let zero = format!("0x{}", "0".repeat(40));
        assert_eq!(
            errors(&with("user", json!(zero))),
            [("/user".to_owned(), "invalid")]
        );
        let bad_checksum = "0x70997970c51812dc3A010C7d01b50e0d17dc79C8";
        assert_eq!(
            errors(&with("user", json!(bad_checksum))),
            [("/user".to_owned(), "invalid")]
        );
        assert_eq!(
            errors(&with("txRef", json!("a b"))),
            [("/txRef".to_owned(), "invalid")]
        );
        assert_eq!(
            errors(&with("countryCode", json!("kes"))),
            [("/countryCode".to_owned(), "invalid")]
        );
        assert_eq!(
            errors(&with("x/y", json!(1))),
            [("/x~1y".to_owned(), "unknown-field")]
        );
        assert_eq!(errors(&json!({})).len(), 4);
        assert_eq!(errors(&json!([])), [(String::new(), "invalid")]);
    }

    #[test]
    fn what_is_not_json_says_so() {
        for body in [&b""[..], b"{", b"\xff", b"{} {}", b"{'a':1}"] {
            assert_eq!(NewMintIntent::parse(body).unwrap_err().code, Code::InvalidJson);
        }
        let twice = r#"{"txRef":"A1","txRef":"A2"}"#;
        assert_eq!(
            NewMintIntent::parse(twice.as_bytes()).unwrap_err().code,
            Code::ValidationFailed
        );
    }

    #[test]
    fn the_policy_checks_range_before_wholeness() {
        let text = include_str!("../../../deploy/policy.json");
        let policy = Policy::load(text, []).unwrap();
        let code_of = |name: &str, value: &str| {
            let intent = NewMintIntent::parse(with(name, json!(value)).to_string().as_bytes()).unwrap();
            intent.check_policy(&policy).err().map(|problem| problem.code)
        };
        assert_eq!(code_of("amount", "1000000000000000000"), None);
        assert_eq!(code_of("amount", "1000000000000000000000"), None);
        assert_eq!(code_of("amount", "0"), Some(Code::AmountBelowMinimum));
        assert_eq!(
            code_of("amount", "999999999999999999"),
            Some(Code::AmountBelowMinimum)
        );
        assert_eq!(
            code_of("amount", "1000000000000000000001"),
            Some(Code::AmountAboveMaximum)
        );
        assert_eq!(
            code_of("amount", "1000000000000000001"),
            Some(Code::AmountNotWhole)
        );
        assert_eq!(code_of("countryCode", "TZS"), Some(Code::CountryNotSupported));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = NewMintIntent::parse(&bytes);
        }

        #[test]
        fn no_string_in_a_field_panics(a in ".{0,60}", b in ".{0,60}", c in ".{0,8}", d in ".{0,40}") {
            let body = json!({"user": a, "amount": b, "countryCode": c, "txRef": d}).to_string();
            let _ = NewMintIntent::parse(body.as_bytes());
        }

        #[test]
        fn the_strict_and_the_lenient_parser_agree(
            amount in "[0-9]{1,30}", tx_ref in "[A-Za-z0-9._:/-]{1,31}", escaped in any::<bool>(),
        ) {
            let mut body = with("amount", json!(amount));
            body["txRef"] = json!(tx_ref);
            let mut text = body.to_string();
            if escaped {
                text = text.replace("KES", "\\u004bES");
            }
            let (quick, slow) = (NewMintIntent::parse(text.as_bytes()), NewMintIntent::parse_with_errors(text.as_bytes()));
            prop_assert_eq!(quick.ok(), slow.ok());
        }
    }
}
