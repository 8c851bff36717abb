mod schema;

use serde_json::Value;

use super::*;
use crate::test_docs::{assert_committed, committed};
use schema::{Schema, bodies, envelope};

fn example(queue: &str) -> Value {
    serde_json::from_str(&committed(&format!("schemas/examples/{queue}.json"))).unwrap()
}

/// Parses and writes again with the real type.
fn round_trip(queue: &str, value: &Value) -> Result<Value, serde_json::Error> {
    fn through<B: Body>(value: &Value) -> Result<Value, serde_json::Error> {
        serde_json::to_value(serde_json::from_str::<B>(&value.to_string())?)
    }
    match queue.parse::<WorkQueue>() {
        Ok(WorkQueue::MintSubmit) => through::<MintSubmit>(value),
        Ok(WorkQueue::MintExecute) => through::<MintExecute>(value),
        Ok(WorkQueue::MintRefund) => through::<MintRefund>(value),
        Ok(WorkQueue::MintOutcome) => through::<MintOutcome>(value),
        Ok(WorkQueue::MpesaResult) => through::<MpesaResult>(value),
        Err(_) => serde_json::to_value(serde_json::from_str::<crate::envelope::Envelope>(
            &value.to_string(),
        )?),
    }
}

fn all() -> Vec<(&'static str, Schema)> {
    let mut all = bodies();
    all.push(("envelope.v1", envelope()));
    all
}

#[test]
fn schemas_are_committed() {
    for (queue, schema) in all() {
        let text = serde_json::to_string_pretty(&schema.document(queue)).unwrap() + "\n";
        assert_committed(&format!("schemas/{queue}.schema.json"), &text);
    }
}

#[test]
fn examples_read_back_byte_for_byte_and_fit_their_schema() {
    for (queue, schema) in all() {
        let value = example(queue);
        assert_eq!(round_trip(queue, &value).unwrap(), value, "{queue}");
        schema
            .check(&value)
            .unwrap_or_else(|why| panic!("{queue}: {why}"));
    }
}

#[test]
fn schema_and_type_agree_on_what_is_required() {
    for (queue, schema) in all() {
        let value = example(queue);
        for path in schema::paths(&value) {
            let (without, removed) = schema::without(&value, &path);
            let by_type = round_trip(queue, &without).is_ok();
            assert_eq!(
                by_type,
                schema.check(&without).is_ok(),
                "{queue}: without {path:?} ({removed})"
            );
        }
    }
}

#[test]
fn schema_and_type_refuse_unknown_fields_everywhere() {
    for (queue, schema) in all() {
        for extended in schema::with_unknown_field(&example(queue)) {
            assert!(round_trip(queue, &extended).is_err(), "{queue}: {extended}");
            assert!(schema.check(&extended).is_err(), "{queue}: {extended}");
        }
    }
}

#[test]
fn examples_show_every_property() {
    for (queue, schema) in all() {
        let missing = schema.properties_missing_in(&example(queue));
        assert!(missing.is_empty(), "{queue}: {missing:?}");
    }
}

#[test]
fn enum_words_are_the_types() {
    for (queue, schema) in all() {
        for (path, word) in schema.words() {
            let value = schema::replaced(&example(queue), &path, &Value::String(word.clone()));
            assert!(round_trip(queue, &value).is_ok(), "{queue} {path:?}: {word}");
            let wrong = schema::replaced(&example(queue), &path, &Value::String(format!("{word}x")));
            assert!(round_trip(queue, &wrong).is_err(), "{queue} {path:?}: {word}x");
        }
    }
}

#[test]
fn a_report_does_not_print_its_body() {
    let MpesaResult { report, .. } = serde_json::from_str(&example("mpesa.result.v1").to_string()).unwrap();
    let shown = format!("{report:?}");
    assert!(!shown.contains("254") && !shown.contains("body:"), "{shown}");
}
