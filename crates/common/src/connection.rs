//! How a broker is reached: the `[broker]` section of the configuration.

mod url;

pub use url::{AmqpAddress, BrokerAddress, Host, UrlError};

use crate::field::Secret;
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, time::Duration};

/// How a broker is reached.
///
/// Parts given apart (`host`, `user` …) win over the same part of the URL.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConnectionSettings {
    /// `amqp://user@host:5672/vhost`, several hosts as `h1:5672,h2:5672`; `amqps://` for TLS;
    /// `sqlite:PATH` for the embedded broker. No default for the services.
    pub url: Option<String>,
    /// Host names with optional ports, instead of those in the URL.
    pub hosts: Vec<String>,
    /// The virtual host. Default: that of the URL, else `/`.
    pub vhost: Option<String>,
    /// The user. Default: that of the URL, else `guest`.
    pub user: Option<String>,
    /// A file that holds the password; read again at each connect.
    pub password_file: Option<PathBuf>,
    /// A file with extra certificate authorities (PEM) for `amqps`.
    pub ca_file: Option<PathBuf>,
    /// How often the peers prove that they live, 1 s – 1 min. RabbitMQ notices a dead peer within two
    /// and a half, and within three at 1 s. Default 10 s.
    #[serde(with = "crate::field::duration")]
    pub heartbeat: Duration,
    /// The name shown to the broker's operator. Default: the program's name and host.
    pub name: Option<String>,
    /// Longest attempt to connect to one host, TCP, TLS and login. Default 10 s.
    #[serde(with = "crate::field::duration")]
    pub connect_timeout: Duration,
    /// Longest wait for a publisher confirm before the outcome is unknown. Default 30 s.
    #[serde(with = "crate::field::duration")]
    pub publish_timeout: Duration,
    /// Longest orderly close. Default 5 s.
    #[serde(with = "crate::field::duration")]
    pub close_timeout: Duration,
    /// Most publishes in flight at once, 1–65,535. Default 1,000.
    pub publish_window: u16,
    /// Most payload bytes in flight at once. Default 16 MiB.
    #[serde(with = "crate::field::size")]
    pub publish_window_bytes: usize,
    /// The largest payload. Default 8 MiB; RabbitMQ 4 takes 16 MiB by default.
    #[serde(with = "crate::field::size")]
    pub payload_bytes_max: usize,
    /// Embedded broker: a worker that shows no life for this long loses its tasks to others.
    /// Default 10 s, at least 1 s.
    #[serde(with = "crate::field::duration")]
    pub stall_timeout: Duration,
    /// How long the same id, given by a caller, is taken for the same task: submitted again it is
    /// accepted, and not done again where that can be known. `0s` for never. Default 1 h.
    #[serde(with = "crate::field::duration")]
    pub duplicate_window: Duration,
    /// RabbitMQ up to 4.2: what `consumer_timeout` is in its configuration, the longest that a
    /// worker may keep a task. From 4.3 on each worker says it itself. Default 30 min, as there.
    #[serde(with = "crate::field::duration")]
    pub ack_timeout: Duration,
    /// RabbitMQ: address of the management API, like `http://host:15672`, so that `queue list` tells
    /// every queue. User and password are those of the broker. Default: none.
    pub management_url: Option<String>,
}

impl Default for ConnectionSettings {
    fn default() -> Self {
        Self {
            url: None,
            hosts: Vec::new(),
            vhost: None,
            user: None,
            password_file: None,
            ca_file: None,
            heartbeat: Duration::from_secs(10),
            name: None,
            connect_timeout: Duration::from_secs(10),
            publish_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            publish_window: 1_000,
            publish_window_bytes: 16 * 1024 * 1024,
            payload_bytes_max: 8 * 1024 * 1024,
            stall_timeout: Duration::from_secs(10),
            duplicate_window: Duration::from_secs(3600),
            ack_timeout: Duration::from_secs(30 * 60),
            management_url: None,
        }
    }
}

impl ConnectionSettings {
    /// Settings with this URL and every default.
    #[must_use]
    pub fn of_url(url: &str) -> Self {
        Self {
            url: Some(url.to_owned()),
            ..Self::default()
        }
    }

    /// The address that URL and parts give together.
    ///
    /// # Errors
    /// [`UrlError`] names the part and what was expected; passwords are never in its text.
    pub fn address(&self) -> Result<BrokerAddress, UrlError> {
        let mut address = match &self.url {
            Some(url) => BrokerAddress::parse(url)?,
            None if self.hosts.is_empty() => return Err(UrlError::missing()),
            None => BrokerAddress::Amqp(AmqpAddress::default()),
        };
        if let BrokerAddress::Amqp(amqp) = &mut address {
            if !self.hosts.is_empty() {
                amqp.hosts = Host::parse_list(&self.hosts.join(","), amqp.default_port())?;
            }
            if let Some(vhost) = &self.vhost {
                amqp.vhost.clone_from(vhost);
            }
            if let Some(user) = &self.user {
                amqp.user.clone_from(user);
            }
        }
        Ok(address)
    }

    /// Every contradiction in these settings, as `(key, value, expectation)`.
    #[must_use]
    pub fn problems(&self) -> Vec<(&'static str, String, &'static str)> {
        let mut problems = Vec::new();
        let second = Duration::from_secs(1);
        let shown = |time| humantime::format_duration(time).to_string();
        let whole = self.heartbeat.subsec_nanos() == 0;
        if self.heartbeat < second || self.heartbeat > 60 * second || !whole {
            let expected = "1s to 1m in whole seconds";
            problems.push(("broker.heartbeat", shown(self.heartbeat), expected));
        }
        if self.stall_timeout < second {
            problems.push((
                "broker.stall_timeout",
                shown(self.stall_timeout),
                "at least 1s",
            ));
        }
        for (key, time) in [
            ("broker.connect_timeout", self.connect_timeout),
            ("broker.publish_timeout", self.publish_timeout),
            ("broker.close_timeout", self.close_timeout),
        ] {
            if time.is_zero() {
                problems.push((key, shown(time), "more than 0s"));
            }
        }
        if let (Some(file), Ok(BrokerAddress::Amqp(AmqpAddress { tls: false, .. }))) =
            (&self.ca_file, self.address())
        {
            problems.push((
                "broker.ca_file",
                file.display().to_string(),
                "`amqps` as the scheme of broker.url, or no such file",
            ));
        }
        if let Some(url) = &self.management_url
            && !url.starts_with("http://")
            && !url.starts_with("https://")
        {
            let expected = "an address that begins with http:// or https://";
            problems.push(("broker.management_url", url.clone(), expected));
        }
        if self.payload_bytes_max == 0 {
            problems.push((
                "broker.payload_bytes_max",
                "0".to_owned(),
                "at least 1 byte",
            ));
        }
        if self.publish_window == 0 {
            problems.push(("broker.publish_window", "0".to_owned(), "1 to 65535"));
        }
        if self.payload_bytes_max > self.publish_window_bytes {
            problems.push((
                "broker.payload_bytes_max",
                self.payload_bytes_max.to_string(),
                "at most broker.publish_window_bytes",
            ));
        }
        problems
    }
}

/// The password in force: from the file where one is set, else from the URL.
///
/// Does no I/O itself; whoever connects reads the file and passes its text.
#[must_use]
pub fn password(from_file: Option<&str>, from_url: &Secret) -> Secret {
    from_file.map_or_else(
        || from_url.clone(),
        |text| Secret::new(text.trim_end_matches(['\r', '\n'])),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_contradict_each_other_are_named() {
        let of = |url: &str| ConnectionSettings::of_url(url);
        let ca_file = Some(PathBuf::from("ca.pem"));
        for (settings, key) in [
            (
                ConnectionSettings {
                    heartbeat: Duration::from_millis(1500),
                    ..of("amqp://h")
                },
                "broker.heartbeat",
            ),
            (
                ConnectionSettings {
                    publish_timeout: Duration::ZERO,
                    ..of("amqp://h")
                },
                "broker.publish_timeout",
            ),
            (
                ConnectionSettings {
                    payload_bytes_max: 0,
                    ..of("amqp://h")
                },
                "broker.payload_bytes_max",
            ),
            (
                ConnectionSettings {
                    publish_window_bytes: 1024,
                    ..of("amqp://h")
                },
                "broker.payload_bytes_max",
            ),
            (
                ConnectionSettings {
                    ca_file: ca_file.clone(),
                    ..of("amqp://h")
                },
                "broker.ca_file",
            ),
        ] {
            let keys: Vec<&str> = settings.problems().iter().map(|(key, ..)| *key).collect();
            assert_eq!(keys, [key]);
        }
        let tls = ConnectionSettings {
            ca_file,
            ..of("amqps://h")
        };
        assert_eq!(tls.problems(), []);
    }
}
