use super::*;
use crate::wire::{MintRefund, MintSubmit, RefundReason};
use domain::ids::Preimage;
use proptest::prelude::*;
use serde_json::{Value, json};

fn secret(byte: u8) -> HmacSecret {
    HmacSecret::from_bytes(&[byte; 32]).unwrap()
}

fn kid(text: &str) -> KeyId {
    text.parse().unwrap()
}

fn shared(keys: PipelineKeys) -> SharedPipelineKeys {
    SharedPipelineKeys::new(keys)
}

fn keys() -> SharedPipelineKeys {
    let q = WorkQueue::MintSubmit;
    shared(
        PipelineKeys::new()
            .with(q, kid("2026-01"), secret(1))
            .with(q, kid("2026-02"), secret(2))
            .with(WorkQueue::MintRefund, kid("2026-01"), secret(3)),
    )
}

fn intent() -> Preimage {
    Preimage {
        chain_id: 31430,
        escrow: "0x5FbDB2315678afecb367f032d93F642f64180aa3".parse().unwrap(),
        depositor: "0x15d34AAf54267DB7D7c367839AAf71A00a2C6A65".parse().unwrap(),
        user: "0x70997970C51812dc3A010C7d01b50e0d17dc79C8".parse().unwrap(),
        amount: "150000000000000000000".parse().unwrap(),
        country_code: "KES".parse().unwrap(),
        tx_ref: "TX0000000001".parse().unwrap(),
    }
}

fn submit() -> MintSubmit {
    MintSubmit {
        intent: intent(),
        integrator: "acme".parse().unwrap(),
        accepted_at: 1_767_225_600,
    }
}

fn metadata() -> MessageMetadata {
    MessageMetadata {
        message_id: "018f0000-0000-7000-8000-000000000001".parse().unwrap(),
        causation_id: None,
        at: OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap(),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
    }
}

fn sealed() -> SealedMessage {
    Sealer::new(keys()).seal(&submit(), metadata()).unwrap()
}

fn open(bytes: &[u8]) -> Result<OpenedMessage, OpenError> {
    Opener::new(keys()).open(WorkQueue::MintSubmit, bytes)
}

#[test]
fn the_greatest_key_id_seals_and_what_was_sealed_opens() {
    let opened = open(&sealed().bytes).unwrap();
    assert_eq!(opened.kid().as_str(), "2026-02");
    assert_eq!(opened.body::<MintSubmit>().unwrap(), submit());
    assert_eq!(opened.intent_id(), Some(intent().intent_id()));
    assert_eq!(opened.hints().attempt, 1);
}

#[test]
fn the_sealed_string_is_the_documented_one() {
    // Written out by hand from the documented layout (docs/SEALS.md).
    let message: Value = serde_json::from_slice(&sealed().bytes).unwrap();
    let mut expected = Vec::new();
    for field in [
        "FR1-SEAL",
        "1",
        "2026-02",
        "mint.submit.v1",
        "018f0000-0000-7000-8000-000000000001",
        "",
        "0xea77772f8ee613a38310be6efdfaabab62ccddfd822ba2739a82686d36d776cb",
        message["body"].as_str().unwrap(),
    ] {
        expected.extend_from_slice(&u32::try_from(field.len()).unwrap().to_be_bytes());
        expected.extend_from_slice(field.as_bytes());
    }
    assert_eq!(
        message["seal"].as_str().unwrap(),
        secret(2).mac(&expected).to_hex()
    );
}

#[test]
fn the_committed_example_opens() {
    // docs/schemas/examples/envelope.v1.json was sealed by another implementation, key = bytes 00..1f.
    let secret = HmacSecret::from_bytes(&(0..32).collect::<Vec<u8>>()).unwrap();
    let keys = shared(PipelineKeys::new().with(WorkQueue::MintSubmit, kid("2026-01"), secret));
    let example = crate::test_docs::committed("schemas/examples/envelope.v1.json");
    let opened = Opener::new(keys)
        .open(WorkQueue::MintSubmit, example.as_bytes())
        .unwrap();
    assert_eq!(opened.body::<MintSubmit>().unwrap(), submit());
}

#[test]
fn the_example_is_the_known_answer_of_the_page() {
    let example =
        Envelope::parse(crate::test_docs::committed("schemas/examples/envelope.v1.json").as_bytes());
    let example = example.unwrap();
    let mut rendered = format!(
        "**Known answer.** Under the 32 bytes 00, 01, 02 and so on to 1f, the seal of \
         [the example](schemas/examples/envelope.v1.json) is `{}`. The fields, with their lengths in front, are these {} \
         bytes in hexadecimal:\n\n```\n",
        example.seal,
        example.sealed_string().len()
    );
    for line in hex::encode(example.sealed_string()).as_bytes().chunks(128) {
        rendered.extend([std::str::from_utf8(line).unwrap(), "\n"]);
    }
    rendered.push_str("```\n");
    crate::test_docs::assert_part("SEALS.md", "seal", &rendered);
}

#[test]
fn an_older_key_still_verifies_and_an_unknown_one_is_not_called_a_forgery() {
    let old = shared(PipelineKeys::new().with(WorkQueue::MintSubmit, kid("2026-01"), secret(1)));
    let bytes = Sealer::new(old).seal(&submit(), metadata()).unwrap().bytes;
    assert!(open(&bytes).is_ok());

    let newer = shared(PipelineKeys::new().with(WorkQueue::MintSubmit, kid("2026-03"), secret(9)));
    let bytes = Sealer::new(newer).seal(&submit(), metadata()).unwrap().bytes;
    assert!(matches!(open(&bytes), Err(OpenError::UnknownKid { .. })));

    let forged = shared(PipelineKeys::new().with(WorkQueue::MintSubmit, kid("2026-02"), secret(9)));
    let bytes = Sealer::new(forged).seal(&submit(), metadata()).unwrap().bytes;
    assert_eq!(open(&bytes).unwrap_err(), OpenError::SealInvalid);
}

#[test]
fn keys_reload_without_a_new_sealer() {
    let keys = keys();
    let (sealer, opener) = (Sealer::new(keys.clone()), Opener::new(keys.clone()));
    keys.replace(PipelineKeys::new().with(WorkQueue::MintSubmit, kid("z"), secret(7)));
    let bytes = sealer.seal(&submit(), metadata()).unwrap().bytes;
    assert_eq!(
        opener.open(WorkQueue::MintSubmit, &bytes).unwrap().kid().as_str(),
        "z"
    );
    keys.replace(PipelineKeys::new());
    assert!(matches!(
        sealer.seal(&submit(), metadata()),
        Err(SealError::NoKey(WorkQueue::MintSubmit))
    ));
}

#[test]
fn a_sealed_message_is_refused_on_another_queue() {
    let refund = MintRefund {
        intent: intent(),
        reason: RefundReason::Declined,
    };
    let bytes = Sealer::new(keys()).seal(&refund, metadata()).unwrap().bytes;
    assert_eq!(open(&bytes).unwrap_err(), OpenError::SealInvalid);
    // Even where both queues share a key and only the queue's name was changed.
    let one = shared(
        PipelineKeys::new()
            .with(WorkQueue::MintSubmit, kid("k"), secret(1))
            .with(WorkQueue::MintRefund, kid("k"), secret(1)),
    );
    let bytes = Sealer::new(one.clone()).seal(&refund, metadata()).unwrap().bytes;
    let text = String::from_utf8(bytes)
        .unwrap()
        .replace("mint.refund.v1", "mint.submit.v1");
    assert_eq!(
        Opener::new(one)
            .open(WorkQueue::MintSubmit, text.as_bytes())
            .unwrap_err(),
        OpenError::SealInvalid
    );
}

#[test]
fn a_sealed_body_that_contradicts_its_intent_id_is_malformed() {
    let (sealer, opener) = (Sealer::new(keys()), Opener::new(keys()));
    let other = Preimage {
        chain_id: 1,
        ..intent()
    };
    let text = serde_json::to_string(&submit()).unwrap();
    let message = sealer
        .seal_text(WorkQueue::MintSubmit, Some(other.intent_id()), text, metadata())
        .unwrap();
    let opened = opener.open(WorkQueue::MintSubmit, &message.bytes).unwrap();
    assert!(matches!(
        opened.body::<MintSubmit>(),
        Err(OpenError::Malformed(_))
    ));
}

#[test]
fn a_replay_is_a_new_message_that_names_its_cause() {
    let opened = open(&sealed().bytes).unwrap();
    let new_id = "018f0000-0000-7000-8000-000000000002".parse().unwrap();
    let again = Sealer::new(keys())
        .replay(
            &opened,
            MessageMetadata {
                message_id: new_id,
                ..metadata()
            },
        )
        .unwrap();
    let reopened = open(&again.bytes).unwrap();
    assert_eq!(
        (reopened.message_id(), reopened.causation_id()),
        (new_id, Some(opened.message_id()))
    );
    assert_eq!(reopened.body::<MintSubmit>().unwrap(), submit());
}

#[test]
fn a_reseal_keeps_the_message_and_changes_the_key() {
    let old = shared(PipelineKeys::new().with(WorkQueue::MintSubmit, kid("2026-01"), secret(1)));
    let opened = open(&Sealer::new(old).seal(&submit(), metadata()).unwrap().bytes).unwrap();
    let again = open(&Sealer::new(keys()).reseal(&opened).unwrap().bytes).unwrap();
    assert_eq!(
        (opened.kid().as_str(), again.kid().as_str()),
        ("2026-01", "2026-02")
    );
    assert_eq!(
        (opened.message_id(), opened.hints()),
        (again.message_id(), again.hints())
    );
}

#[test]
fn a_message_too_large_to_be_read_is_never_sealed() {
    let big = crate::wire::MpesaResult {
        report: crate::wire::SignedReport {
            report_id: "018f0000-0000-7000-8000-000000000009".parse().unwrap(),
            body: vec![0; MAX_MESSAGE_BYTES],
            timestamp: String::new(),
            signature: String::new(),
            path: String::new(),
            query: String::new(),
            received_at: 0,
        },
        late: false,
        accepted_by: None,
    };
    let keys = shared(PipelineKeys::new().with(WorkQueue::MpesaResult, kid("k"), secret(1)));
    assert!(matches!(
        Sealer::new(keys).seal(&big, metadata()),
        Err(SealError::TooLarge(_))
    ));
}

proptest! {
    #[test]
    fn a_change_of_any_sealed_field_is_detected(field in 0_usize..7, noise in "[a-f0-9]{4}") {
        let mut message: Value = serde_json::from_slice(&sealed().bytes).unwrap();
        let (name, value) = match field {
            0 => ("kid", json!("2026-01")),
            1 => ("messageId", json!(format!("018f0000-0000-7000-8000-00000001{noise}"))),
            2 => ("causationId", json!(format!("018f0000-0000-7000-8000-00000001{noise}"))),
            3 => ("intentId", json!(format!("0x{noise}{}", "0".repeat(60)))),
            4 => ("intentId", Value::Null),
            5 => ("body", json!(format!("{} ", message["body"].as_str().unwrap()))),
            _ => ("seal", json!(format!("{noise}{}", &message["seal"].as_str().unwrap()[4..]))),
        };
        prop_assume!(message[name] != value);
        message[name] = value;
        let opened = open(&serde_json::to_vec(&message).unwrap());
        prop_assert_eq!(opened.unwrap_err(), OpenError::SealInvalid);
    }

    #[test]
    fn one_changed_byte_of_the_body_is_detected(at in any::<prop::sample::Index>(), with in "[a-zA-Z0-9]") {
        let mut message: Value = serde_json::from_slice(&sealed().bytes).unwrap();
        let body = message["body"].as_str().unwrap().to_owned();
        let at = at.index(body.len());
        let changed = format!("{}{with}{}", &body[..at], &body[at + 1..]);
        prop_assume!(changed != body);
        message["body"] = json!(changed);
        prop_assert!(open(&serde_json::to_vec(&message).unwrap()).is_err());
    }

    #[test]
    fn hints_may_change(attempt in 1_u32.., seconds in 0_i64..4_000_000_000) {
        let mut message: Value = serde_json::from_slice(&sealed().bytes).unwrap();
        let at = OffsetDateTime::from_unix_timestamp(seconds).unwrap();
        message["attempt"] = json!(attempt);
        message["firstSeen"] = json!(at.format(&time::format_description::well_known::Rfc3339).unwrap());
        message["traceparent"] = Value::Null;
        let opened = open(&serde_json::to_vec(&message).unwrap()).unwrap();
        prop_assert_eq!(opened.hints().attempt, attempt);
        prop_assert_eq!(opened.hints().first_seen, at);
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        prop_assert!(open(&bytes).is_err());
    }
}
