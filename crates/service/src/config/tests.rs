//! Layers, origins and problems.

use super::*;
use crate::telemetry::{LogFormat, TelemetryConfig};
use pumasi_common::{ConnectionSettings, QueueSpec};
use serde::Deserialize;
use std::time::Duration;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    broker: ConnectionSettings,
    queues: Vec<QueueSpec>,
    telemetry: TelemetryConfig,
    strict: Option<bool>,
}

fn layers(variables: &[(&str, &str)], flags: &[(&str, &str)]) -> Layers {
    let owned = |pairs: &[(&str, &str)]| {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    };
    Layers {
        file: None,
        default_files: Vec::new(),
        environment: Environment::Given(owned(variables)),
        overrides: owned(flags),
    }
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pumasi.toml");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

fn problems(layers: &Layers) -> Vec<Problem> {
    match load::<Settings>(layers).unwrap_err() {
        ConfigError::Invalid { problems } => problems,
        error @ ConfigError::Unreadable { .. } => panic!("{error}"),
    }
}

#[test]
fn without_any_layer_every_value_is_its_default() {
    let loaded: Loaded<Settings> = load(&layers(&[], &[])).unwrap();
    assert_eq!(loaded.value.broker, ConnectionSettings::default());
    assert!(loaded.origins.iter().all(|entry| entry.origin == "default"));
    assert_eq!(loaded.origin("broker.url"), "default");
}

#[test]
fn a_later_layer_wins_and_every_value_knows_its_origin() {
    let (_folder, path) = file(
        "[broker]\nurl = 'amqp://file@h'\nuser = 'file'\nname = 'file'\nheartbeat = '20s'\n\
         [[queues]]\nname = 'email'\n",
    );
    let mut layers = layers(
        &[
            ("PUMASI__BROKER__USER", "variable"),
            ("PUMASI__BROKER__NAME", "variable"),
            ("PUMASI__BROKER__PUBLISH_WINDOW", "7"),
            ("PUMASI__BROKER__HOSTS", "a:1, b:2"),
            ("PUMASI__STRICT", "true"),
            ("PUMASI_SERVICE_HOST", "10.0.0.1"),
            ("PUMASI_PORT", "tcp://10.0.0.1:80"),
            ("PATH", "/bin"),
        ],
        &[("broker.name", "flag"), ("telemetry.log_format", "json")],
    );
    layers.file = Some(path.clone());
    let loaded: Loaded<Settings> = load(&layers).unwrap();
    let broker = &loaded.value.broker;
    assert_eq!(broker.url.as_deref(), Some("amqp://file@h"));
    assert_eq!(broker.user.as_deref(), Some("variable"));
    assert_eq!(broker.name.as_deref(), Some("flag"));
    assert_eq!(broker.heartbeat, Duration::from_secs(20));
    assert_eq!(broker.publish_window, 7);
    assert_eq!(broker.hosts, ["a:1", "b:2"]);
    assert_eq!(loaded.value.telemetry.log_format, LogFormat::Json);
    assert_eq!(loaded.value.queues[0].name.as_str(), "email");
    assert_eq!(loaded.value.strict, Some(true));
    let path = path.display().to_string();
    for (key, origin) in [
        ("broker.url", path.as_str()),
        ("queues", &path),
        ("broker.user", "environment (PUMASI__BROKER__USER)"),
        ("broker.name", "command line"),
        ("broker.vhost", "default"),
    ] {
        assert_eq!(loaded.origin(key), origin, "{key}");
    }
}

#[test]
fn every_problem_is_reported_at_once_with_key_origin_and_expectation() {
    let (_folder, path) = file(
        "colour = 'red'\n[broker]\nheartbeet = '20s'\nurll = 'x'\nheartbeat = 20\n\
         [telemetry]\nlog_format = 'xml'\n[[queues]]\nkind = 'quorum'\n[[queues]]\nname = 'a b'\n",
    );
    let mut layers = layers(
        &[
            ("PUMASI__BROKER__PUBLISH_WINDOW", "many"),
            ("PUMASI__BROKER__HARTBEAT", "20s"),
        ],
        &[("broker.nam", "x")],
    );
    layers.file = Some(path.clone());
    let found = problems(&layers);
    let path = path.display().to_string();
    for (key, origin, clause) in [
        (
            "colour",
            path.as_str(),
            "unknown key, expected one of `broker`",
        ),
        (
            "broker.heartbeet",
            &path,
            "unknown key, expected one of `url`",
        ),
        ("broker.urll", &path, "unknown key"),
        ("broker.heartbeat", &path, "`20` is not a duration"),
        (
            "telemetry.log_format",
            &path,
            "unknown value `xml`, expected `text` or `json`",
        ),
        ("queues[0].name", &path, "missing"),
        ("queues[1].name", &path, "invalid queue name"),
        ("broker.nam", "command line", "unknown key"),
        (
            "broker.hartbeat",
            "environment (PUMASI__BROKER__HARTBEAT)",
            "unknown key",
        ),
        (
            "broker.publish_window",
            "environment (PUMASI__BROKER__PUBLISH_WINDOW)",
            "\"many\" where an integer was expected",
        ),
    ] {
        let problem = found.iter().find(|problem| problem.key == key);
        let problem = problem.unwrap_or_else(|| panic!("{key} is not in {found:#?}"));
        assert_eq!(problem.origin, origin, "{key}");
        assert!(problem.problem.contains(clause), "{problem}");
    }
    assert_eq!(found.len(), 10, "{found:#?}");
}

#[test]
fn the_error_lists_one_problem_per_line() {
    let one = load::<Settings>(&layers(&[("PUMASI__BROKER__URLL", "x")], &[])).unwrap_err();
    let text = one.to_string();
    assert!(
        text.starts_with(
            "invalid configuration: `broker.urll` from environment (PUMASI__BROKER__URLL): \
             unknown key, expected one of `url`, "
        ),
        "{text}"
    );
    let two = load::<Settings>(&layers(&[("PUMASI__A", "x"), ("PUMASI__B", "x")], &[]));
    let text = two.unwrap_err().to_string();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.starts_with("invalid configuration, 2 problems:\n  `a` from"));
}

#[test]
fn a_named_file_must_exist_and_a_default_file_need_not() {
    let mut layers = layers(&[], &[]);
    layers.default_files = vec![PathBuf::from("/nonexistent/pumasi.toml")];
    load::<Settings>(&layers).unwrap();
    layers.file = Some(PathBuf::from("/nonexistent/pumasi.toml"));
    let error = load::<Settings>(&layers).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ConfigUnreadable);
    assert!(error.to_string().contains("/nonexistent/pumasi.toml"));
}

#[test]
fn a_malformed_file_is_named_with_its_line_and_without_its_text() {
    let (_folder, path) = file("[broker]\nurl = 'amqp://u:hunter2@h\n");
    let layers = Layers {
        file: Some(path),
        ..layers(&[], &[])
    };
    let text = load::<Settings>(&layers).unwrap_err().to_string();
    assert!(text.contains("line 2 is not TOML"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_password_is_shown_nowhere() {
    let secret = "amqp://u:hunter2@h";
    let loaded: Loaded<Settings> = load(&layers(&[("PUMASI__BROKER__URL", secret)], &[])).unwrap();
    let shown = loaded.origins.iter().find(|e| e.key == "broker.url");
    assert_eq!(shown.unwrap().value, "amqp://u:[redacted]@h");
    assert_eq!(loaded.value.broker.url.as_deref(), Some(secret));
    let wrong = problems(&layers(&[("PUMASI__BROKER__HEARTBEAT", secret)], &[]));
    assert!(!format!("{wrong:?}").contains("hunter2"), "{wrong:?}");
    let wrong = problems(&layers(&[("PUMASI__BROKER__PUBLISH_WINDOW", secret)], &[]));
    assert!(!format!("{wrong:?}").contains("hunter2"), "{wrong:?}");
}

#[test]
fn a_contradiction_is_reported_with_its_origin() {
    let loaded: Loaded<Settings> = load(&layers(&[], &[("broker.heartbeat", "2m")])).unwrap();
    let error = loaded.refuse(loaded.value.broker.problems()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "invalid configuration: `broker.heartbeat` from command line: `2m` is not usable: \
         expected 1s to 1m in whole seconds"
    );
    let fine: Loaded<Settings> = load(&layers(&[], &[])).unwrap();
    fine.refuse(fine.value.broker.problems()).unwrap();
}

#[test]
fn a_section_given_as_a_single_value_is_an_error_and_not_a_panic() {
    let found = problems(&layers(&[("PUMASI__BROKER", "amqp://h")], &[]));
    assert_eq!(found[0].key, "broker");
    for key in ["", ".", "a..b", "queues[0]", "queues.0.name"] {
        assert!(
            load::<Settings>(&layers(&[], &[(key, "x")])).is_err(),
            "{key}"
        );
    }
}
