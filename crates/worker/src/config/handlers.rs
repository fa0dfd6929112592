//! `[[worker.handlers]]`: who handles which kind.

use super::networks::{Network, Networks, literal};
use pumasi_common::{RetryRules, TaskKind, field};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// Who handles a kind: a program (`exec`) or a service (`http`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandlerConfig {
    /// The kind; absent: the default handler, for tasks without a kind.
    #[serde(default)]
    pub kind: Option<TaskKind>,
    /// Whether it also takes tasks of every kind that has no handler of its own. Default `false`:
    /// such a task is moved to the dead letters. Needs `kind` to be absent.
    #[serde(default)]
    pub every_kind: bool,
    /// The program and its arguments; no shell is involved. Either this or `http`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exec: Vec<String>,
    /// The service that the payload is sent to, a table of its own. Either this or `exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpConfig>,
    /// Longest run, where that differs from `worker.timeout`.
    #[serde(
        default,
        with = "field::duration_option",
        skip_serializing_if = "Option::is_none"
    )]
    pub timeout: Option<Duration>,
    /// When its failed tasks are tried again, where that differs from their queue's policy.
    #[serde(default, skip_serializing_if = "RetryRules::is_empty")]
    pub retry: RetryRules,
}

/// A service that handles a kind: the payload is sent to it with POST.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Where the payload is sent, `http://…` or `https://…`, without user and password.
    pub url: String,
    /// Which addresses the service may have: `public`, `private`, `loopback` and networks like
    /// `10.96.0.0/12`. Default: what the URL's host needs. That is its own address where it is
    /// one, `loopback` for `localhost`, `private` and `public` for a name without a dot or below
    /// `svc`, `local`, `internal`, `lan`, `intranet`, `private`, `corp`, `home` or `home.arpa`,
    /// else `public`. Link-local, metadata and multicast addresses are always refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<Network>>,
    /// A file with extra certificate authorities (PEM) for `https`. Default: those of the system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// Longest wait for a connection, TLS included. Default 10 s.
    #[serde(with = "field::duration")]
    pub connect_timeout: Duration,
    /// How long a connection is kept for the next task. Shorter than the service keeps it, or a
    /// task may be sent into a connection that ends, and costs an attempt. Default 4 s: many
    /// servers close after 5 s.
    #[serde(with = "field::duration")]
    pub idle_timeout: Duration,
}

impl Default for HttpConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            allow: None,
            ca_file: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(4),
        }
    }
}

impl HttpConfig {
    /// The URL and the addresses that its host may have.
    ///
    /// # Errors
    /// What was expected of the URL instead.
    pub(crate) fn target(&self) -> Result<(Url, Networks), &'static str> {
        let url = Url::parse(&self.url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https"))
            .ok_or("an http or https URL, like `http://resizer.default.svc/tasks`")?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a URL without user and password");
        }
        if url.port() == Some(0) {
            return Err("a URL with a port from 1 to 65535");
        }
        let host = url.host_str().unwrap_or_default();
        let networks = match &self.allow {
            Some(allow) => Networks::new(allow.clone()),
            None => Networks::needed_by(host),
        };
        // A name is looked at when it is resolved; an address never is.
        if let Some(address) = literal(host)
            && !networks.permit(address)
        {
            return Err("a host that `allow` permits, and no link-local or metadata address");
        }
        Ok((url, networks))
    }
}

impl HandlerConfig {
    /// What a person calls it.
    fn shown(&self) -> &str {
        self.kind.as_ref().map_or("default", TaskKind::as_str)
    }

    fn expectation(&self) -> Option<(String, &'static str)> {
        if let (Some(kind), true) = (&self.kind, self.every_kind) {
            return Some((format!("true beside kind `{kind}`"), "one of the two"));
        }
        match (&self.http, self.exec.is_empty()) {
            (None, false) => None,
            (None, true) => Some((
                self.shown().to_owned(),
                "a program and its arguments in exec, or a service in http",
            )),
            (Some(_), false) => Some((
                format!("exec beside http for `{}`", self.shown()),
                "one of the two",
            )),
            (Some(http), true) => {
                let shown = |expected| (format!("{} for `{}`", http.url, self.shown()), expected);
                http.target().err().map(shown)
            }
        }
    }
}

/// Every contradiction, as `(key, value, expectation)`.
pub(super) fn problems(
    handlers: &[HandlerConfig],
) -> impl Iterator<Item = (&'static str, String, &'static str)> {
    let mut problems = Vec::new();
    for (position, handler) in handlers.iter().enumerate() {
        if handler.timeout == Some(Duration::ZERO) {
            let value = format!("0s for `{}`", handler.shown());
            problems.push((value, "a timeout of more than 0s"));
        }
        let mut earlier = handlers.iter().take(position);
        if earlier.any(|other| other.kind == handler.kind) {
            problems.push((format!("`{}` twice", handler.shown()), "each kind once"));
        }
        problems.extend(handler.expectation());
    }
    problems
        .into_iter()
        .map(|(value, expected)| ("worker.handlers", value, expected))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn handler(kind: Option<&str>, every_kind: bool) -> HandlerConfig {
        HandlerConfig {
            kind: kind.map(|kind| kind.parse().unwrap()),
            every_kind,
            exec: vec!["true".to_owned()],
            ..HandlerConfig::default()
        }
    }

    fn http(url: &str, allow: Option<&[&str]>) -> HttpConfig {
        let parse = |text: &&str| text.parse().unwrap();
        HttpConfig {
            url: url.to_owned(),
            allow: allow.map(|allow| allow.iter().map(parse).collect()),
            ..HttpConfig::default()
        }
    }

    #[test]
    fn handlers_that_contradict_each_other_are_problems() {
        let count = |handlers: &[HandlerConfig]| problems(handlers).count();
        assert_eq!(count(&[handler(Some("a"), false), handler(None, true)]), 0);
        assert_eq!(count(&[handler(Some("a"), true)]), 1);
        assert_eq!(
            count(&[handler(Some("a"), false), handler(Some("a"), false)]),
            1
        );
        assert_eq!(count(&[handler(None, false), handler(None, true)]), 1);
        let neither = HandlerConfig::default();
        let service = HandlerConfig {
            http: Some(http("http://resizer/", None)),
            ..HandlerConfig::default()
        };
        let both = HandlerConfig {
            exec: vec!["true".to_owned()],
            ..service.clone()
        };
        assert_eq!(
            [count(&[neither]), count(&[service]), count(&[both])],
            [1, 0, 1]
        );
    }

    #[test]
    fn a_url_that_cannot_be_used_is_refused_with_what_was_expected() {
        let user = "without user";
        let address = "that `allow` permits";
        for (url, allow, expected) in [
            ("", None, "an http or https URL"),
            ("resizer:8080/x", None, "an http or https URL"),
            ("ftp://resizer/", None, "an http or https URL"),
            ("http://", None, "an http or https URL"),
            ("http://resizer:0/", None, "a port from 1"),
            ("http://u:hunter2@resizer/", None, user),
            ("http://10.0.0.1@resizer/", None, user),
            ("http://169.254.169.254/latest", None, address),
            (
                "http://169.254.169.254/",
                Some(&["169.254.0.0/16"][..]),
                address,
            ),
            ("http://2852039166/", None, address),
            ("http://0xa9.0376.43518/", None, address),
            ("http://[::ffff:169.254.169.254]/", None, address),
            ("http://0.0.0.0/", None, address),
            ("http://[::]:80/", None, address),
            ("http://10.0.0.1/", Some(&["public"]), address),
            ("http://10.0.0.1/", Some(&[]), address),
        ] {
            let problem = http(url, allow).target().unwrap_err();
            assert!(problem.contains(expected), "{url}: {problem}");
        }
        for url in [
            "http://resizer",
            "https://api.example.com:8443/hook?x=1",
            "http://127.0.0.1:8080/",
            "http://[::1]/",
            "http://10.0.0.1/",
        ] {
            assert!(http(url, None).target().is_ok(), "{url}");
        }
    }
}
