//! An HTTP client that can misbehave: it sends what it is told, when it is told.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
};

use crate::process::LIMIT;

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status; 0 when the connection was closed without an answer.
    pub status: u16,
    /// The status line and the headers, in lower case.
    pub head: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// A connection of one request.
#[derive(Debug)]
pub struct Connection(TcpStream);

impl Connection {
    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("somebody listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a time-out");
        Self(stream)
    }

    /// Sends these bytes. A peer that has closed is no failure: it may have answered before.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.0.write_all(bytes.as_ref());
    }

    /// Sends these bytes; `false` where the peer has closed.
    #[must_use]
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.0.write_all(bytes.as_ref()).is_ok()
    }

    /// Reads until this text has come; `false` where the end or the limit comes first.
    #[must_use]
    pub fn reads(&mut self, text: &str) -> bool {
        let mut read = Vec::new();
        let mut part = [0; 4096];
        while let Ok(count @ 1..) = self.0.read(&mut part) {
            read.extend_from_slice(&part[..count]);
            if String::from_utf8_lossy(&read).contains(text) {
                return true;
            }
        }
        false
    }

    /// Sends a head that announces a body of this many bytes, and waits until it is asked for.
    ///
    /// # Panics
    /// When the server does not ask.
    pub fn announce(&mut self, path: &str, bytes: usize) {
        self.send(format!(
            "POST {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
             Content-Length: {bytes}\r\nExpect: 100-continue\r\n\r\n"
        ));
        let mut asked = [0; 25];
        self.0.read_exact(&mut asked).expect("an interim answer");
        assert_eq!(&asked, b"HTTP/1.1 100 Continue\r\n\r\n");
    }

    /// Reads to the end.
    #[must_use]
    pub fn answer(mut self) -> Answer {
        let mut bytes = Vec::new();
        let mut part = [0; 4096];
        // A reset after the answer still leaves the answer.
        while let Ok(count) = self.0.read(&mut part) {
            if count == 0 {
                break;
            }
            bytes.extend_from_slice(&part[..count]);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
        Answer {
            status: status.unwrap_or_default(),
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }
}

/// One request with extra header lines, each with its line end.
#[must_use]
pub fn request(address: SocketAddr, line: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
    let body = body.as_ref();
    let mut connection = Connection::open(address);
    let bytes = body.len();
    let head = format!(
        "{line} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {bytes}\r\n\
         {headers}\r\n"
    );
    connection.send([head.as_bytes(), body].concat());
    connection.answer()
}

/// Submits a payload to a queue.
#[must_use]
pub fn submit(gateway: SocketAddr, queue: &str, payload: impl AsRef<[u8]>) -> Answer {
    request(
        gateway,
        &format!("POST /v1/queues/{queue}/tasks"),
        "",
        payload,
    )
}

/// The status of a probe.
#[must_use]
pub fn probe(health: SocketAddr, path: &str) -> Answer {
    request(health, &format!("GET {path}"), "", "")
}
