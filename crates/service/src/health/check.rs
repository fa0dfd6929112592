//! Asks the probes of a process from beside it: `--check`, for those who start a program to look
//! (exec probes of Kubernetes, health checks of containers).
//!
//! One request over a plain socket: no runtime, no broker, a few milliseconds.

use super::HealthConfig;
use crate::process::Fatal;
use pumasi_common::{Diagnostic, ErrorCode, Retryability};
use std::{
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    process::ExitCode,
    time::Duration,
};

/// Longest wait for a connection, and for the answer. Whoever starts a check mostly waits less.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// How much of an answer is read, in bytes; the longest reason is far shorter.
const ANSWER_BYTES_MAX: u64 = 4096;

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Probe {
    /// Whether it can do its work now: `/readyz`
    Ready,
    /// Whether it lives: `/healthz`
    Live,
}

impl Probe {
    fn path(self) -> &'static str {
        match self {
            Self::Ready => "/readyz",
            Self::Live => "/healthz",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Live => "alive",
        }
    }
}

/// Why there is nobody to ask.
#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error("cannot check: `health.listen` is not set, so that no process answers probes")]
    Unset,
    #[error("cannot check: `health.listen` is {0}, a port that only the system knows")]
    AnyPort(SocketAddr),
}

impl Diagnostic for CheckError {
    fn code(&self) -> ErrorCode {
        ErrorCode::ConfigInvalid
    }
    fn retryability(&self) -> Retryability {
        Retryability::Permanent
    }
    fn help(&self) -> Option<String> {
        Some(
            "set `health.listen`, like `0.0.0.0:8081`, to the same for the process and its check"
                .to_owned(),
        )
    }
}

/// Asks the process that listens where the configuration says. A sentence on standard error says
/// what is wrong.
///
/// The exit status is 0 where the answer is yes, 1 where it is no or there is none, 64 where the
/// configuration names no one to ask.
#[must_use]
pub fn check(config: &HealthConfig, probe: Probe) -> ExitCode {
    let address = match config.listen {
        None => return Fatal::from(CheckError::Unset).report(),
        Some(address) if address.port() == 0 => {
            return Fatal::from(CheckError::AnyPort(address)).report();
        }
        Some(address) => reached(address),
    };
    let problem = match ask(address, probe.path()) {
        Ok((200, _)) => return ExitCode::SUCCESS,
        Ok((status, reason)) if reason.is_empty() => {
            format!("not {}: {address} answers {status}", probe.word())
        }
        Ok((_, reason)) => format!("not {}: {reason}", probe.word()),
        Err(error) => format!("not {}: {address} does not answer: {error}", probe.word()),
    };
    // Nobody is left to be told when standard error is closed.
    let _ = writeln!(io::stderr(), "{problem}");
    ExitCode::FAILURE
}

/// Where who listens at an address is reached from this machine.
fn reached(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip @ (IpAddr::V4(_) | IpAddr::V6(_)) => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// The status and the text of the answer.
fn ask(address: SocketAddr, path: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    parse(&String::from_utf8_lossy(&answer))
        .ok_or_else(|| io::Error::other("what listens there does not speak HTTP"))
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    let lines: Vec<&str> = body.split_whitespace().collect();
    Some((status.parse().ok()?, lines.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn who_listens_everywhere_is_reached_on_this_machine() {
        for (listen, expected) in [
            ("0.0.0.0:8081", "127.0.0.1:8081"),
            ("[::]:8081", "[::1]:8081"),
            ("10.0.0.7:8081", "10.0.0.7:8081"),
        ] {
            let expected: SocketAddr = expected.parse().unwrap();
            assert_eq!(reached(listen.parse().unwrap()), expected);
        }
    }

    /// Checks against somebody who gives this answer to one request.
    fn answered(answer: &'static str) -> ExitCode {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = HealthConfig {
            listen: Some(listener.local_addr().unwrap()),
        };
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 1024];
            assert!(stream.read(&mut head).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let status = check(&config, Probe::Ready);
        server.join().unwrap();
        status
    }

    #[test]
    fn only_a_yes_is_a_success() {
        assert_eq!(
            answered("HTTP/1.1 200 OK\r\n\r\nready\n"),
            ExitCode::SUCCESS
        );
        for other in [
            "HTTP/1.1 503 Service Unavailable\r\n\r\nno consumer\n",
            "HTTP/1.1 404 Not Found\r\n\r\n",
            "AMQP\0\0\u{9}\u{1}",
            "HTTP/1.1 200",
            "",
        ] {
            assert_eq!(answered(other), ExitCode::FAILURE, "{other}");
        }
    }

    #[test]
    fn without_anybody_to_ask_the_configuration_is_wrong() {
        for listen in [None, Some("0.0.0.0:0".parse().unwrap())] {
            let config = HealthConfig { listen };
            assert_eq!(check(&config, Probe::Live), ExitCode::from(64));
        }
    }
}
