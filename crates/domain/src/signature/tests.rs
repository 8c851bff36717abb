use super::*;
use proptest::prelude::*;

const BODY: &str = r#"{"user":"0x70997970C51812dc3A010C7d01b50e0d17dc79C8","amount":"150000000000000000000","countryCode":"KES","txRef":"TX0000000001"}"#;
const CALLBACK: &str = r#"{"txRef":"TX0000000001","amount":"150","phone":"254708374149","timestamp":1767225600,"receipt":"NLJ7RT61SV","resultCode":0}"#;
const IDEMPOTENCY_KEY: &str = "8e03978e-40d5-43e8-bc93-6894a57f9324";

fn secret() -> HmacSecret {
    HmacSecret::from_bytes(&(0..32).collect::<Vec<u8>>()).unwrap()
}

fn mac_of(request: &SignedRequest<'_>) -> String {
    request.sign(&secret()).macs[0].to_hex()
}

#[test]
fn known_answer_request() {
    let key_id: KeyId = "ik_test_0001".parse().unwrap();
    let request = SignedRequest {
        scheme: SigningScheme::Request,
        key_id: &key_id,
        timestamp: "1767225600",
        method: "POST",
        path: "/mint-intents",
        query: "",
        idempotency_key: IDEMPOTENCY_KEY,
        body: BODY.as_bytes(),
    };
    assert_eq!(
        hex::encode(sha256(BODY.as_bytes())),
        "688832e5ec4a9df822d066d6ea43aae0fbae1327dd1fef8efe331fceb9cfee0b"
    );
    assert_eq!(
        mac_of(&request),
        "61508ad17ce6e1c7dd90e8177f72676f71d749cc9d7bd51c22ac3c431db6e66c"
    );
}

#[test]
fn known_answer_callback() {
    let key_id: KeyId = "mk_test_0001".parse().unwrap();
    let request = SignedRequest {
        scheme: SigningScheme::Mpesa,
        key_id: &key_id,
        timestamp: "1767225600",
        method: "POST",
        path: "/callbacks/mpesa",
        query: "",
        idempotency_key: "",
        body: CALLBACK.as_bytes(),
    };
    assert_eq!(
        hex::encode(sha256(CALLBACK.as_bytes())),
        "4602b4efbaf1981540fc21fb7db9a729ddc6fe729d4323bbb99173fd13ffb516"
    );
    assert_eq!(
        mac_of(&request),
        "a650c67e5bead0d44ffab8938b089b805960553c6195894436fae49c49aace61"
    );
}

#[test]
fn known_answer_read() {
    let key_id: KeyId = "ik_test_0001".parse().unwrap();
    let path = format!("/api/v1/mint-intents/0x{}", "ab".repeat(32));
    let request = SignedRequest {
        scheme: SigningScheme::Request,
        key_id: &key_id,
        timestamp: "1767225600",
        method: "GET",
        path: &path,
        query: "",
        idempotency_key: "",
        body: b"",
    };
    assert_eq!(
        mac_of(&request),
        "3b1927a99d02313f465040b2fe98249093a45143a214a517e71ffec129b17b40"
    );
}

#[test]
fn known_answer_response() {
    let key_id: KeyId = "ik_test_0001".parse().unwrap();
    let response = SignedResponse {
        key_id: &key_id,
        timestamp: 1_767_225_601,
        status: 201,
        request_id: "req_0001",
        idempotency_key: IDEMPOTENCY_KEY,
        body: br#"{"intentId":"0x00","status":"pending"}"#,
    };
    assert_eq!(
        response.sign(&secret()).macs[0].to_hex(),
        "0d5b039e593d9878fc4ee0c580ef7f7d3feeb96547e3521b1b618b67d54f8a70"
    );
}

#[test]
fn signature_header_format() {
    let mac = "ab".repeat(32);
    let ok = |text: &str| text.parse::<SignatureHeader>().is_ok();
    assert!(ok(&format!("kid=a,v1={mac}")));
    assert!(ok(&format!("v1={mac},kid=a,v2=unknown,v1={mac}")));
    assert!(ok(&format!("kid=a{}", format!(",v1={mac}").repeat(4))));
    for bad in [
        String::new(),
        "kid=a".into(),
        format!("v1={mac}"),
        format!("kid=a,kid=b,v1={mac}"),
        format!("kid=,v1={mac}"),
        format!("kid=a,v1={}", mac.to_uppercase()),
        format!("kid=a,v1={}", &mac[1..]),
        format!("kid=a{}", format!(",v1={mac}").repeat(5)),
        format!("kid=a,v1={mac},{}=x", "y".repeat(1024)),
    ] {
        assert!(!ok(&bad), "{bad}");
    }
}

#[test]
fn a_header_of_one_kibibyte_is_read_and_of_one_byte_more_is_refused() {
    let items = format!("kid=a,v1={},x=", "ab".repeat(32));
    for (length, is_read) in [(1024, true), (1025, false)] {
        let header = format!("{items}{}", "y".repeat(length - items.len()));
        assert_eq!(header.parse::<SignatureHeader>().is_ok(), is_read, "{length}");
    }
}

#[test]
fn any_right_tag_of_a_header_verifies() {
    let key_id: KeyId = "ik".parse().unwrap();
    let request = SignedRequest {
        scheme: SigningScheme::Request,
        key_id: &key_id,
        timestamp: "1",
        method: "GET",
        path: "/p",
        query: "",
        idempotency_key: "",
        body: b"",
    };
    let (right, wrong) = (request.sign(&secret()).macs[0], Mac::from_bytes([0; 32]));
    let verify = |macs: &[Mac]| request.verify(&secret(), macs);
    assert!(verify(&[right]) && verify(&[right, wrong]) && verify(&[wrong, right]));
    assert!(verify(&[right, right]), "the same tag twice");
    assert!(!verify(&[wrong]) && !verify(&[]));
}

#[test]
fn timestamps_and_freshness() {
    assert_eq!(parse_timestamp("1767225600"), Some(1_767_225_600));
    for bad in ["", "-1", "+1", "1.5", "1e9", "1234567890123", " 1"] {
        assert_eq!(parse_timestamp(bad), None, "{bad}");
    }
    assert!(is_fresh(1000, 700, 300) && is_fresh(700, 1000, 300));
    assert!(!is_fresh(1001, 700, 300) && !is_fresh(700, 1001, 300));
}

#[test]
fn secrets_do_not_print() {
    assert!(!format!("{:?}", secret()).contains("1, 2"));
    assert_eq!(HmacSecret::from_hex("00").unwrap_err(), SecretError::TooShort);
}

proptest! {
    #[test]
    fn any_changed_line_breaks_the_signature(index in 0_usize..7, extra in "[a-z0-9]{1,8}") {
        let key_id: KeyId = "ik".parse().unwrap();
        let other_key: KeyId = format!("ik{extra}").parse().unwrap();
        let base = SignedRequest {
            scheme: SigningScheme::Request, key_id: &key_id, timestamp: "1", method: "POST", path: "/p",
            query: "q", idempotency_key: "k", body: b"b",
        };
        let header = base.sign(&secret());
        let (timestamp, method, path) = (format!("1{extra}"), format!("POST{extra}"), format!("/p{extra}"));
        let (query, key, body) = (format!("q{extra}"), format!("k{extra}"), format!("b{extra}"));
        let changed = match index {
            0 => SignedRequest { scheme: SigningScheme::Mpesa, ..base },
            1 => SignedRequest { key_id: &other_key, ..base },
            2 => SignedRequest { timestamp: &timestamp, ..base },
            3 => SignedRequest { method: &method, ..base },
            4 => SignedRequest { path: &path, query: &query, ..base },
            5 => SignedRequest { idempotency_key: &key, ..base },
            _ => SignedRequest { body: body.as_bytes(), ..base },
        };
        prop_assert!(base.verify(&secret(), &header.macs));
        prop_assert!(!changed.verify(&secret(), &header.macs));
    }

    #[test]
    fn no_header_panics(text in ".{0,200}") {
        let _ = text.parse::<SignatureHeader>();
    }

    #[test]
    fn a_printed_header_reads_back(kid in "[A-Za-z0-9_-]{1,64}", bytes in any::<[u8; 32]>()) {
        let header = SignatureHeader { key_id: kid.parse().unwrap(), macs: vec![Mac::from_bytes(bytes)] };
        let again: SignatureHeader = header.to_string().parse().unwrap();
        prop_assert_eq!(again.to_string(), header.to_string());
    }
}
