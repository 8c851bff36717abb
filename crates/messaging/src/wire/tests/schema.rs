//! A writer of the small part of JSON Schema our messages need, and a checker of the same part.

use serde_json::{Map, Value, json};

#[derive(Clone)]
pub enum Schema {
    Text {
        pattern: &'static str,
        what: &'static str,
    },
    Words(&'static [&'static str]),
    Integer,
    Boolean,
    Object(Vec<(&'static str, Need, Schema)>),
}

#[derive(Clone, Copy, PartialEq)]
pub enum Need {
    Required,
    Optional,
    Nullable,
}
use Need::{Nullable, Optional, Required};

fn text(pattern: &'static str, what: &'static str) -> Schema {
    Schema::Text { pattern, what }
}

fn address() -> Schema {
    text(
        "^0x[0-9a-fA-F]{40}$",
        "EVM address; mixed case carries its EIP-55 checksum; never zero",
    )
}

fn uuid() -> Schema {
    text(
        "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$",
        "UUID",
    )
}

fn hash() -> Schema {
    text("^0x[0-9a-f]{64}$", "32 bytes")
}

fn preimage() -> Schema {
    Schema::Object(vec![
        ("chainId", Required, Schema::Integer),
        ("escrow", Required, address()),
        ("depositor", Required, address()),
        ("user", Required, address()),
        (
            "amount",
            Required,
            text("^(0|[1-9][0-9]{0,38})$", "base units, 18 decimals"),
        ),
        ("countryCode", Required, text("^[A-Z]{3}$", "ISO 4217")),
        (
            "txRef",
            Required,
            text("^[A-Za-z0-9._:/-]{1,31}$", "payment reference"),
        ),
    ])
}

fn report() -> Schema {
    Schema::Object(vec![
        ("reportId", Required, uuid()),
        (
            "body",
            Required,
            text("^[A-Za-z0-9+/]*={0,2}$", "raw request body, base64"),
        ),
        ("timestamp", Required, text("", "X-Request-Timestamp as received")),
        ("signature", Required, text("", "X-Mpesa-Signature as received")),
        ("path", Required, text("", "raw path that was signed")),
        (
            "query",
            Required,
            text("", "raw query that was signed, without the question mark"),
        ),
        ("receivedAt", Required, Schema::Integer),
    ])
}

pub fn bodies() -> Vec<(&'static str, Schema)> {
    let intent = ("intent", Required, preimage());
    let outcomes = &[
        "escrowed", "executed", "refunded", "refused", "rejected", "dropped",
    ];
    let reasons = &["declined", "expired", "not_compliant", "operator"];
    vec![
        (
            "mint.submit.v1",
            Schema::Object(vec![
                intent.clone(),
                ("integrator", Required, text("^[a-z0-9-]{1,64}$", "who asked")),
                ("acceptedAt", Required, Schema::Integer),
            ]),
        ),
        (
            "mint.execute.v1",
            Schema::Object(vec![intent.clone(), ("report", Required, report())]),
        ),
        (
            "mint.refund.v1",
            Schema::Object(vec![intent.clone(), ("reason", Required, Schema::Words(reasons))]),
        ),
        (
            "mint.outcome.v1",
            Schema::Object(vec![
                intent,
                ("outcome", Required, Schema::Words(outcomes)),
                ("final", Required, Schema::Boolean),
                ("sequence", Required, Schema::Integer),
                ("txHash", Optional, hash()),
                ("blockNumber", Optional, Schema::Integer),
                ("reason", Optional, text("", "for people")),
            ]),
        ),
        (
            "mpesa.result.v1",
            Schema::Object(vec![
                ("report", Required, report()),
                ("late", Required, Schema::Boolean),
                (
                    "acceptedBy",
                    Optional,
                    text("", "operator who accepted a late report"),
                ),
            ]),
        ),
    ]
}

pub fn envelope() -> Schema {
    Schema::Object(vec![
        ("v", Required, Schema::Integer),
        (
            "queue",
            Required,
            text("^[a-z]+\\.[a-z]+\\.v[0-9]+$", "origin queue, sealed"),
        ),
        (
            "kid",
            Required,
            text("^[A-Za-z0-9_-]{1,64}$", "pipeline key id, sealed"),
        ),
        ("messageId", Required, uuid()),
        ("causationId", Nullable, uuid()),
        ("intentId", Nullable, hash()),
        ("body", Required, text("", "exact JSON text of the body, sealed")),
        (
            "seal",
            Required,
            text("^[0-9a-f]{64}$", "HMAC-SHA256 over the sealed fields"),
        ),
        ("attempt", Required, Schema::Integer),
        ("firstSeen", Required, text("", "RFC 3339; hint")),
        ("traceparent", Nullable, text("", "W3C trace context; hint")),
    ])
}

impl Schema {
    pub fn document(&self, name: &str) -> Value {
        let mut document = Map::new();
        document.insert(
            "$schema".into(),
            json!("https://json-schema.org/draft/2020-12/schema"),
        );
        document.insert("title".into(), json!(name));
        if let Value::Object(body) = self.json(Required) {
            document.extend(body);
        }
        Value::Object(document)
    }

    fn json(&self, need: Need) -> Value {
        let kind = |name: &str| {
            if need == Nullable {
                json!([name, "null"])
            } else {
                json!(name)
            }
        };
        match self {
            Self::Text { pattern: "", what } => json!({"type": kind("string"), "description": what}),
            Self::Text { pattern, what } => {
                json!({"type": kind("string"), "pattern": pattern, "description": what})
            }
            Self::Words(words) => json!({"enum": words}),
            Self::Integer => json!({"type": kind("integer")}),
            Self::Boolean => json!({"type": kind("boolean")}),
            Self::Object(fields) => {
                let properties: Map<_, _> = fields
                    .iter()
                    .map(|(name, need, schema)| ((*name).to_owned(), schema.json(*need)))
                    .collect();
                let required: Vec<_> = fields.iter().filter(|f| f.1 == Required).map(|f| f.0).collect();
                json!({
                    "type": "object", "additionalProperties": false, "required": required,
                    "properties": properties,
                })
            }
        }
    }

    pub fn check(&self, value: &Value) -> Result<(), String> {
        match (self, value) {
            (Self::Text { .. }, Value::String(_)) | (Self::Boolean, Value::Bool(_)) => Ok(()),
            (Self::Integer, Value::Number(n)) if n.is_i64() || n.is_u64() => Ok(()),
            (Self::Words(words), Value::String(word)) if words.contains(&word.as_str()) => Ok(()),
            (Self::Object(fields), Value::Object(map)) => {
                for (name, need, schema) in fields {
                    match map.get(*name) {
                        None if *need == Required => return Err(format!("{name} is missing")),
                        None => {}
                        Some(Value::Null) if *need == Nullable => {}
                        Some(inner) => schema.check(inner).map_err(|why| format!("{name}: {why}"))?,
                    }
                }
                let known = |key: &String| fields.iter().any(|f| f.0 == key);
                map.keys()
                    .find(|key| !known(key))
                    .map_or(Ok(()), |key| Err(format!("{key} is unknown")))
            }
            _ => Err(format!("wrong type: {value}")),
        }
    }

    pub fn properties_missing_in(&self, value: &Value) -> Vec<String> {
        let Self::Object(fields) = self else {
            return Vec::new();
        };
        let missing = |(name, _, schema): &(&str, Need, Self)| match value.get(*name) {
            None => vec![(*name).to_owned()],
            Some(inner) => schema.properties_missing_in(inner),
        };
        fields.iter().flat_map(missing).collect()
    }

    /// Every enum word with its path.
    pub fn words(&self) -> Vec<(Vec<String>, String)> {
        let Self::Object(fields) = self else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for (name, _, schema) in fields {
            if let Self::Words(words) = schema {
                all.extend(
                    words
                        .iter()
                        .map(|word| (vec![(*name).to_owned()], (*word).to_owned())),
                );
            }
        }
        all
    }
}

/// Paths of every property, nested ones too.
pub fn paths(value: &Value) -> Vec<Vec<String>> {
    let Value::Object(map) = value else {
        return Vec::new();
    };
    let mut all = Vec::new();
    for (name, inner) in map {
        all.push(vec![name.clone()]);
        all.extend(paths(inner).into_iter().map(|mut rest| {
            rest.insert(0, name.clone());
            rest
        }));
    }
    all
}

fn object_at<'a>(value: &'a mut Value, path: &[String]) -> &'a mut Map<String, Value> {
    let inner = path.iter().fold(value, |value, name| &mut value[name]);
    inner.as_object_mut().unwrap()
}

pub fn without(value: &Value, path: &[String]) -> (Value, Value) {
    let mut value = value.clone();
    let (last, parents) = path.split_last().unwrap();
    let removed = object_at(&mut value, parents).remove(last).unwrap();
    (value, removed)
}

pub fn replaced(value: &Value, path: &[String], with: &Value) -> Value {
    let mut value = value.clone();
    let (last, parents) = path.split_last().unwrap();
    object_at(&mut value, parents).insert(last.clone(), with.clone());
    value
}

/// The value with one unknown field, once per object in it.
pub fn with_unknown_field(value: &Value) -> Vec<Value> {
    let mut objects = vec![Vec::new()];
    objects.extend(
        paths(value)
            .into_iter()
            .filter(|path| path.iter().fold(value, |v, name| &v[name]).is_object()),
    );
    objects
        .into_iter()
        .map(|path| {
            let mut value = value.clone();
            object_at(&mut value, &path).insert("unexpected".into(), json!(1));
            value
        })
        .collect()
}
