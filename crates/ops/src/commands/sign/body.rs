//! Builds request bodies from flags, with the fields in the order of the documented examples.

use anyhow::Result;
use clap::Args;
use domain::address::Address;
use domain::country::CountryCode;
use domain::money::{BaseUnits, Shillings};
use domain::payment::MpesaReceipt;
use domain::phone::Phone;
use domain::signature::sha256;
use domain::tx_ref::TxRef;
use serde::Serialize;

use crate::context::CommandContext;
use crate::user_error::user_error;

#[derive(Args)]
#[command(next_help_heading = "Body built from (instead of --body)")]
pub struct IntentFields {
    /// Who receives the country token
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["body", "body_file"])]
    user: Option<Address>,
    /// Whole shillings
    #[arg(long, value_name = "SHILLINGS", conflicts_with_all = ["body", "body_file"])]
    amount: Option<Shillings>,
    /// Base units (18 decimals), instead of --amount
    #[arg(long, value_name = "UNITS", conflicts_with_all = ["amount", "body", "body_file"])]
    base_units: Option<BaseUnits>,
    /// Country of the token
    #[arg(long, value_name = "CODE", default_value = "KES")]
    country: CountryCode,
    /// Payment reference [default: a new reference]
    #[arg(long, value_name = "TXREF", conflicts_with_all = ["body", "body_file"])]
    tx_ref: Option<TxRef>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct IntentBody {
    user: Address,
    amount: BaseUnits,
    country_code: CountryCode,
    tx_ref: TxRef,
}

impl IntentFields {
    pub fn build(&self, context: &CommandContext) -> Result<Vec<u8>> {
        let (Some(user), Some(amount)) = (
            self.user,
            self.base_units
                .or_else(|| self.amount.map(Shillings::to_base_units)),
        ) else {
            return Err(user_error(
                "there is no body to sign",
                "pass --user and --amount, or --body TEXT, or --body-file FILE",
            ));
        };
        let tx_ref = match &self.tx_ref {
            Some(tx_ref) => tx_ref.clone(),
            None => format!("TX{}", fresh(context, 10)).parse()?,
        };
        Ok(serde_json::to_vec(&IntentBody {
            user,
            amount,
            country_code: self.country,
            tx_ref,
        })?)
    }
}

#[derive(Args)]
#[command(next_help_heading = "Body built from (instead of --body)")]
pub struct ReportFields {
    /// Payment reference that was paid
    #[arg(long, value_name = "TXREF", conflicts_with_all = ["body", "body_file"])]
    tx_ref: Option<TxRef>,
    /// Whole shillings that were paid
    #[arg(long, value_name = "SHILLINGS", conflicts_with_all = ["body", "body_file"])]
    amount: Option<Shillings>,
    /// Payer's telephone number
    #[arg(long, default_value = "254708374149", value_parser = phone)]
    phone: String,
    /// M-Pesa's receipt [default: a new receipt when paid]
    #[arg(long, conflicts_with_all = ["body", "body_file"])]
    receipt: Option<String>,
    /// 0 means paid
    #[arg(long, value_name = "CODE", default_value_t = 0)]
    result_code: i32,
    /// M-Pesa's text for the code
    #[arg(long, value_name = "TEXT")]
    result_desc: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CallbackBody<'a> {
    tx_ref: &'a TxRef,
    amount: String,
    phone: &'a str,
    timestamp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<String>,
    result_code: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_desc: Option<&'a str>,
}

impl ReportFields {
    pub fn build(&self, context: &CommandContext) -> Result<Vec<u8>> {
        let (Some(tx_ref), Some(amount)) = (&self.tx_ref, self.amount) else {
            return Err(user_error(
                "there is no body to sign",
                "pass --tx-ref and --amount, or --body TEXT, or --body-file FILE",
            ));
        };
        let receipt = match &self.receipt {
            Some(text) => Some(
                text.parse::<MpesaReceipt>()
                    .map_err(|e| user_error(format!("--receipt: {e}"), "e.g. NLJ7RT61SV"))?,
            ),
            None if self.result_code == 0 => Some(format!("N{}", fresh(context, 9)).parse()?),
            None => None,
        };
        Ok(serde_json::to_vec(&CallbackBody {
            tx_ref,
            amount: amount.to_string(),
            phone: &self.phone,
            timestamp: context.clock.unix_seconds(),
            receipt: receipt.map(|receipt| receipt.to_string()),
            result_code: self.result_code,
            result_desc: self.result_desc.as_deref(),
        })?)
    }
}

fn phone(text: &str) -> Result<String, String> {
    text.parse::<Phone>()
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

/// A random text of `length` capital letters and digits.
fn fresh(context: &CommandContext, length: usize) -> String {
    let hash = sha256(context.ids.uuid().as_bytes());
    hex::encode(hash).to_uppercase().chars().take(length).collect()
}
