//! Broker URLs: `amqp[s]://user:password@h1:5672,h2/vhost` and `sqlite:PATH`.

use crate::{
    error::{Diagnostic, ErrorCode, Retryability},
    field::Secret,
};
use percent_encoding::percent_decode_str;
use std::{fmt, path::PathBuf};

/// Where a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BrokerAddress {
    /// RabbitMQ.
    Amqp(AmqpAddress),
    /// The embedded broker's file.
    Sqlite(PathBuf),
}

/// Where RabbitMQ is and who we are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmqpAddress {
    /// Whether TLS is spoken.
    pub tls: bool,
    /// The hosts, tried in turn.
    pub hosts: Vec<Host>,
    /// The user.
    pub user: String,
    /// The password in the URL; a password file wins.
    pub password: Secret,
    /// The virtual host; `/` when the URL names none.
    pub vhost: String,
}

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// A name or address; an IPv6 address without brackets.
    pub name: String,
    /// The port.
    pub port: u16,
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.contains(':') {
            write!(f, "[{}]:{}", self.name, self.port)
        } else {
            write!(f, "{}:{}", self.name, self.port)
        }
    }
}

impl Default for AmqpAddress {
    fn default() -> Self {
        Self {
            tls: false,
            hosts: vec![Host {
                name: "localhost".to_owned(),
                port: 5672,
            }],
            user: "guest".to_owned(),
            password: Secret::new("guest"),
            vhost: "/".to_owned(),
        }
    }
}

impl AmqpAddress {
    pub(super) fn default_port(&self) -> u16 {
        if self.tls { 5671 } else { 5672 }
    }
}

impl fmt::Display for BrokerAddress {
    /// Without user and password: fit for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Amqp(amqp) => {
                let hosts: Vec<String> = amqp.hosts.iter().map(ToString::to_string).collect();
                let scheme = if amqp.tls { "amqps" } else { "amqp" };
                let vhost = if amqp.vhost == "/" {
                    ""
                } else {
                    amqp.vhost.as_str()
                };
                write!(f, "{scheme}://{}/{vhost}", hosts.join(","))
            }
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
        }
    }
}

/// A broker address that cannot be understood. Its text never holds a password.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid broker address: {problem}")]
pub struct UrlError {
    /// What is wrong.
    pub problem: String,
}

impl UrlError {
    fn new(problem: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
        }
    }

    pub(super) fn missing() -> Self {
        Self::new("none is given")
    }
}

impl Diagnostic for UrlError {
    fn code(&self) -> ErrorCode {
        ErrorCode::ConfigInvalid
    }
    fn retryability(&self) -> Retryability {
        Retryability::Permanent
    }
    fn help(&self) -> Option<String> {
        Some("give `--broker amqp://user@host:5672/vhost` or `--broker sqlite:PATH`, or set PUMASI__BROKER__URL".to_owned())
    }
}

impl BrokerAddress {
    /// Reads a broker URL. `amqp://h` and `amqp://h/` both mean the virtual host `/`.
    ///
    /// # Errors
    /// [`UrlError`] says what is wrong, without the password.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let Some((scheme, rest)) = url.split_once(':') else {
            return Err(UrlError::new(
                "it has no scheme; expected amqp, amqps or sqlite",
            ));
        };
        match scheme {
            "sqlite" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                if path.is_empty() {
                    return Err(UrlError::new("`sqlite:` names no file"));
                }
                Ok(Self::Sqlite(PathBuf::from(path)))
            }
            "amqp" => parse_amqp(false, rest).map(Self::Amqp),
            "amqps" => parse_amqp(true, rest).map(Self::Amqp),
            _ => Err(UrlError::new(
                "unknown scheme; expected amqp, amqps or sqlite",
            )),
        }
    }
}

fn parse_amqp(tls: bool, rest: &str) -> Result<AmqpAddress, UrlError> {
    let rest = rest
        .strip_prefix("//")
        .ok_or_else(|| UrlError::new("expected `//` after the scheme"))?;
    if rest.contains('?') {
        return Err(UrlError::new(
            "parameters after `?` are not read; set them in the [broker] section",
        ));
    }
    let (authority, vhost) = rest.split_once('/').unwrap_or((rest, ""));
    let mut address = AmqpAddress {
        tls,
        ..AmqpAddress::default()
    };
    let hosts = match authority.rsplit_once('@') {
        Some((login, hosts)) => {
            let (user, password) = login.split_once(':').unwrap_or((login, ""));
            address.user = decode("user", user)?;
            address.password = Secret::new(decode("password", password)?);
            hosts
        }
        None => authority,
    };
    address.hosts = Host::parse_list(hosts, address.default_port())?;
    if !vhost.is_empty() {
        address.vhost = decode("vhost", vhost)?;
    }
    Ok(address)
}

fn decode(part: &str, text: &str) -> Result<String, UrlError> {
    percent_decode_str(text)
        .decode_utf8()
        .map(Into::into)
        .map_err(|_| UrlError::new(format!("the {part} is not UTF-8 after percent-decoding")))
}

impl Host {
    /// Reads `h1:5672,h2,[::1]:5673`.
    ///
    /// # Errors
    /// [`UrlError`] names the host and what is wrong.
    pub fn parse_list(text: &str, default_port: u16) -> Result<Vec<Self>, UrlError> {
        text.split(',')
            .map(|one| Self::parse(one.trim(), default_port))
            .collect()
    }

    fn parse(text: &str, default_port: u16) -> Result<Self, UrlError> {
        let (name, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((name, "")) => (name, None),
            Some((name, rest)) => (name, rest.strip_prefix(':')),
            None => match text.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (text, None),
            },
        };
        if name.is_empty() {
            return Err(UrlError::new("a host is empty"));
        }
        let port = match port {
            None => default_port,
            Some(port) => port.parse().map_err(|_| {
                UrlError::new(format!(
                    "the port of host `{name}` is not a number from 1 to 65535"
                ))
            })?,
        };
        Ok(Self {
            name: name.to_owned(),
            port,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_with_hosts_vhost_and_login_are_read() {
        let url = "amqp://us%40er:p%2Fw@h1:1,h2,[::1]:3/a%2Fb";
        let BrokerAddress::Amqp(amqp) = BrokerAddress::parse(url).unwrap() else {
            unreachable!()
        };
        assert_eq!(amqp.user, "us@er");
        assert_eq!(amqp.password.expose(), "p/w");
        assert_eq!(amqp.vhost, "a/b");
        let hosts: Vec<String> = amqp.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(hosts, ["h1:1", "h2:5672", "[::1]:3"]);
        for url in ["amqp://h", "amqp://h/"] {
            let BrokerAddress::Amqp(amqp) = BrokerAddress::parse(url).unwrap() else {
                unreachable!()
            };
            assert_eq!((amqp.vhost.as_str(), amqp.user.as_str()), ("/", "guest"));
        }
        assert_eq!(
            BrokerAddress::parse("sqlite:/a/b.db").unwrap(),
            BrokerAddress::Sqlite("/a/b.db".into())
        );
    }

    #[test]
    fn a_bad_url_is_explained_and_never_shows_the_password() {
        for (url, problem) in [
            ("localhost", "no scheme"),
            ("http://x", "unknown scheme"),
            ("amqp:h", "expected `//`"),
            ("amqp://u:hunter2@h:port/", "not a number"),
            ("amqp://u:hunter2@/", "host is empty"),
            ("amqp://u:hunter2@h?x=1", "[broker] section"),
            ("sqlite:", "names no file"),
        ] {
            let text = BrokerAddress::parse(url).unwrap_err().to_string();
            assert!(
                text.contains(problem) && !text.contains("hunter2"),
                "{url}: {text}"
            );
        }
        let shown = format!("{:?}", BrokerAddress::parse("amqp://u:hunter2@h").unwrap());
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}
