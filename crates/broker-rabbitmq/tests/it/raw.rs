//! A client without manners: it writes AMQP frames byte by byte, so that it can say what no
//! library lets anybody say.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// A logged-in connection with one channel.
pub(crate) struct RawClient {
    stream: TcpStream,
}

/// Property flags, as the protocol has them.
pub(crate) const CONTENT_TYPE: u16 = 0x8000;
pub(crate) const HEADERS: u16 = 0x2000;
pub(crate) const PRIORITY: u16 = 0x0800;
pub(crate) const CORRELATION_ID: u16 = 0x0400;
pub(crate) const REPLY_TO: u16 = 0x0200;
pub(crate) const EXPIRATION: u16 = 0x0100;
pub(crate) const MESSAGE_ID: u16 = 0x0080;
pub(crate) const TIMESTAMP: u16 = 0x0040;
pub(crate) const TYPE: u16 = 0x0020;
pub(crate) const APP_ID: u16 = 0x0008;

/// A short text: at most 255 bytes after their count.
pub(crate) fn short(text: &[u8]) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(text.len()).unwrap()];
    bytes.extend(text);
    bytes
}

/// Bytes after their count in four bytes: long texts, tables and lists.
pub(crate) fn long(bytes: &[u8]) -> Vec<u8> {
    let mut counted = u32::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    counted.extend(bytes);
    counted
}

/// A header table of one entry: its value begins with the letter of its type.
pub(crate) fn table(name: &[u8], value: &[u8]) -> Vec<u8> {
    long(&[short(name), value.to_vec()].concat())
}

impl RawClient {
    pub(crate) fn open(port: u16, vhost: &str) -> Self {
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        let mut client = Self { stream };
        client.stream.write_all(b"AMQP\0\0\x09\x01").unwrap();
        client.until(10, 10).unwrap();
        let login = [
            &long(b"")[..],
            &short(b"PLAIN"),
            &long(b"\0guest\0guest"),
            &short(b"en_US"),
        ];
        client.method(0, 10, 11, &login.concat());
        client.until(10, 30).unwrap();
        client.method(0, 10, 31, &[0, 9, 0, 2, 0, 0, 0, 0]);
        let open = [&short(vhost.as_bytes())[..], b"\0\0"];
        client.method(0, 10, 40, &open.concat());
        client.until(10, 41).unwrap();
        client
    }

    /// Publishes and waits until the broker has read it; the error is the broker's refusal.
    pub(crate) fn publish(
        &mut self,
        queue: &str,
        (flags, properties): (u16, &[u8]),
        body: &[u8],
    ) -> Result<(), String> {
        self.method(1, 20, 10, &short(b""));
        self.until(20, 11)?;
        let place = [&[0, 0][..], &short(b""), &short(queue.as_bytes()), &[0]];
        self.method(1, 60, 40, &place.concat());
        let mut header = vec![0, 60, 0, 0];
        header.extend((body.len() as u64).to_be_bytes());
        header.extend(flags.to_be_bytes());
        header.extend(properties);
        self.frame(2, 1, &header);
        for part in body.chunks(100_000) {
            self.frame(3, 1, part);
        }
        self.method(1, 20, 40, &[&[0, 200][..], &short(b""), &[0; 4]].concat());
        self.until(20, 41)
    }

    fn method(&mut self, channel: u16, class: u16, method: u16, arguments: &[u8]) {
        let ids = [class.to_be_bytes(), method.to_be_bytes()].concat();
        self.frame(1, channel, &[&ids, arguments].concat());
    }

    fn frame(&mut self, kind: u8, channel: u16, payload: &[u8]) {
        let mut bytes = vec![kind];
        bytes.extend(channel.to_be_bytes());
        bytes.extend(long(payload));
        bytes.push(0xce);
        // A broker that has hung up says why in what it sent before.
        let _ = self.stream.write_all(&bytes);
    }

    /// Reads up to this method; a channel or connection that is closed instead is the error.
    fn until(&mut self, class: u16, method: u16) -> Result<(), String> {
        loop {
            let mut head = [0; 7];
            self.stream
                .read_exact(&mut head)
                .map_err(|error| error.to_string())?;
            let size = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
            let mut payload = vec![0; usize::try_from(size).unwrap() + 1];
            self.stream.read_exact(&mut payload).unwrap();
            if head[0] != 1 {
                continue;
            }
            let ids = [[payload[0], payload[1]], [payload[2], payload[3]]];
            match ids.map(u16::from_be_bytes) {
                [a, b] if (a, b) == (class, method) => return Ok(()),
                [20, 40] => {
                    self.method(1, 20, 41, &[]);
                    return Err(String::from_utf8_lossy(&payload[7..]).into_owned());
                }
                [10, 50] => return Err(String::from_utf8_lossy(&payload[7..]).into_owned()),
                _ => {}
            }
        }
    }
}
