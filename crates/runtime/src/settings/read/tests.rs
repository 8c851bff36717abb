use clap::CommandFactory as _;
use secrecy::ExposeSecret as _;

use super::*;
use crate::Settings;
use crate::settings::{ApiSettings, ContractSettings, RpcSettings};

/// A service that has nothing but what every service has.
#[derive(Debug, Parser)]
#[command(name = "sample", version)]
struct Sample {
    #[command(flatten)]
    shared: Settings,
}

const POLICY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/policy.json");

const MINIMAL: [(&str, &str); 4] = [
    ("DATABASE_URL", "postgres://u:canary@h/d"),
    ("AMQP_URL", "amqp://u:canary@h/v"),
    ("FIATRAILS_KEYS_DIR", "/keys"),
    ("FIATRAILS_POLICY_FILE", POLICY),
];

fn environment(extra: &[(&str, &str)]) -> Environment {
    MINIMAL.iter().chain(extra).copied().collect()
}

fn with_line(extra: &[(&str, &str)], words: &[&str]) -> Result<Environment, clap::Error> {
    let line = ["sample"].iter().chain(words).map(OsString::from);
    match with_flags::<Sample>(environment(extra), line)? {
        CommandLine::Run(environment) | CommandLine::CheckReady(environment) => Ok(environment),
    }
}

#[test]
fn errors_name_the_variable_and_quote_no_secret() {
    for (name, value) in [
        ("DATABASE_URL", ""),
        ("AMQP_URL", ""),
        ("AMQP_CA_FILE", "/no/such/file"),
        ("DATABASE_CONNECTIONS", "many"),
        ("FIATRAILS_KEYS_DIR", ""),
        ("ADMIN_ADDR", "nowhere"),
        ("DRAIN_MS", "100000"),
        ("LOG_FORMAT", "xml"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("FIATRAILS_POLICY_FILE", "/no/such/file"),
        ("FIATRAILS_POLICY_NO_SUCH_FIELD", "1"),
        ("DATABASE_URL_FILE", "/no/such/file"),
    ] {
        let error = environment(&[(name, value)]).read::<Settings>().unwrap_err();
        let text = error.to_string();
        assert!(text.contains(name.trim_end_matches("_FILE")), "{name}: {text}");
        assert!(!format!("{text} {error:?}").contains("canary"), "{text}");
    }
    let shown = format!("{:?}", environment(&[]).read::<Settings>().unwrap());
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn an_error_says_what_would_be_right() {
    let text = |name, value| {
        let error = environment(&[(name, value)]).read::<Settings>().unwrap_err();
        error.to_string()
    };
    assert_eq!(
        text("ADMIN_ADDR", "nowhere"),
        "ADMIN_ADDR: invalid socket address syntax; write IP:PORT"
    );
    assert_eq!(
        text("LOG_FORMAT", "xml"),
        "LOG_FORMAT: unknown format; write json|pretty"
    );
}

#[test]
fn an_empty_variable_counts_as_not_set() {
    let settings = environment(&[("DRAIN_MS", ""), ("READY_FILE", ""), ("AMQP_URL_FILE", "")]);
    let settings: Settings = settings.read().unwrap();
    assert_eq!((settings.drain.as_millis(), settings.ready_file), (0, None));
}

#[test]
fn the_environment_overrides_the_policy() {
    let settings = environment(&[("FIATRAILS_POLICY_WINDOWS_REDRIVE_SECONDS", "3")]);
    let settings: Settings = settings.read().unwrap();
    assert_eq!(settings.limits.policy.windows.redrive_seconds, 3);
}

#[test]
fn a_flag_goes_before_its_variable() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("url");
    std::fs::write(&file, "postgres://from-file\n").unwrap();
    let words = ["--drain-ms", "7", "--database-url-file", file.to_str().unwrap()];
    let set = [("DRAIN_MS", "5"), ("DATABASE_URL", "")];
    let settings: Settings = with_line(&set, &words).unwrap().read().unwrap();
    assert_eq!(settings.drain.as_millis(), 7);
    let url = &settings.database.database_url;
    assert_eq!(url.value().expose_secret(), "postgres://from-file");
    assert_eq!(url.file(), Some(file.as_path()));
}

#[test]
fn help_lists_every_variable_and_shows_no_value() {
    let help = with_line(&[], &["--help"]).err().unwrap();
    assert_eq!(help.kind(), ErrorKind::DisplayHelp);
    let help = help.to_string();
    for variable in variables(&Sample::command()) {
        assert!(
            help.contains(&format!("[env: {}", variable.name)),
            "{}",
            variable.name
        );
        assert!(!variable.meaning.is_empty(), "{}", variable.name);
    }
    assert!(!help.contains("canary"), "{help}");
    assert!(!help.contains("--database-url "), "{help}");
}

#[test]
fn a_secret_on_the_command_line_is_refused_and_not_repeated() {
    for words in [
        ["--database-url=canary", "--drain-ms=1"],
        ["--database-url", "canary"],
        ["--otel-exporter-otlp-headers=canary", "--drain-ms=1"],
    ] {
        let error = with_line(&[], &words).err().unwrap();
        assert_eq!(error.kind(), ErrorKind::UnknownArgument, "{words:?}");
        assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    }
    assert!(with_line(&[], &["--no-such-flag"]).is_err());
}

#[test]
fn each_flag_is_the_kebab_form_of_its_variable() {
    for variable in variables(&Sample::command()) {
        assert_eq!(variable.flag, variable.name.to_lowercase().replace('_', "-"));
    }
}

#[test]
fn addresses_and_urls_are_checked() {
    let environment: Environment = [("ESCROW_ADDRESS", "0x12"), ("TLS_KEY_FILE", "k")]
        .into_iter()
        .collect();
    let wrong = environment.read::<ContractSettings>().unwrap_err().to_string();
    assert!(wrong.contains("ESCROW_ADDRESS"), "{wrong}");
    let wrong = environment.read::<RpcSettings>().unwrap_err().to_string();
    assert_eq!(wrong, "RPC_URLS is not set");
    let wrong = environment.read::<ApiSettings>().unwrap_err().to_string();
    assert_eq!(wrong, "TLS_CERT_FILE is not set");
}
