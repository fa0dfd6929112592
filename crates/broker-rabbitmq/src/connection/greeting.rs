//! What a broker says of itself before the login, and what follows from it. Pure.

use lapin::{
    protocol::{AMQPClass, connection::AMQPMethod, parse_class},
    types::{AMQPValue, FieldTable},
};
use pumasi_common::{QueueKind, broker::Priorities};
use std::fmt;

/// Type, channel and size before the payload of a frame.
const FRAME_HEADER_BYTES: usize = 7;
/// The first version without transient queues: it denies them by default, and later ones drop them.
const WITHOUT_TRANSIENT: (u32, u32) = (4, 3);
/// The first version whose quorum queues prefer some tasks.
const WITH_TWO_PRIORITIES: (u32, u32) = (4, 0);
/// The first version whose quorum queues have strict priorities.
const WITH_TEN_PRIORITIES: (u32, u32) = (4, 3);
/// The first version whose quorum queues ask each consumer.
const WITH_TIMED_CONSUMERS: (u32, u32) = (4, 3);

/// Which broker it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Server {
    product: String,
    version: String,
}

impl Server {
    /// The queue kinds it has.
    pub(crate) fn queue_kinds(&self) -> Vec<QueueKind> {
        let mut kinds = vec![QueueKind::Quorum, QueueKind::Classic];
        // One that hides its version is asked; its refusal is explained then.
        if self.release().is_none_or(|it| it < WITHOUT_TRANSIENT) {
            kinds.push(QueueKind::Transient);
        }
        kinds
    }

    /// Which priorities change the order of a quorum queue.
    pub(crate) fn priorities(&self) -> Priorities {
        match self.release() {
            Some(release) if release >= WITH_TEN_PRIORITIES => Priorities::Ten,
            Some(release) if release >= WITH_TWO_PRIORITIES => Priorities::Two,
            Some(_) | None => Priorities::None,
        }
    }

    /// Whether a consumer says how long it may keep a delivery.
    pub(crate) fn times_consumers(&self) -> bool {
        self.release().is_some_and(|it| it >= WITH_TIMED_CONSUMERS)
    }

    /// Major and minor version.
    fn release(&self) -> Option<(u32, u32)> {
        let mut parts = self.version.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }

    /// Out of a connection's first frame, once all of it is there.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let size: [u8; 4] = bytes.get(3..FRAME_HEADER_BYTES)?.try_into().ok()?;
        let size = usize::try_from(u32::from_be_bytes(size)).ok()?;
        let end = FRAME_HEADER_BYTES.checked_add(size)?;
        let (_, class) = parse_class(bytes.get(FRAME_HEADER_BYTES..end)?).ok()?;
        let AMQPClass::Connection(AMQPMethod::Start(start)) = class else {
            return None;
        };
        Some(Self {
            product: text(&start.server_properties, "product"),
            version: text(&start.server_properties, "version"),
        })
    }
}

/// `RabbitMQ 4.3.6`.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let product = if self.product.is_empty() {
            "RabbitMQ"
        } else {
            &self.product
        };
        f.write_str(product)?;
        if self.version.is_empty() {
            return Ok(());
        }
        write!(f, " {}", self.version)
    }
}

/// A short printable text among the properties.
fn text(properties: &FieldTable, name: &str) -> String {
    let Some(AMQPValue::LongString(value)) = properties.inner().get(name) else {
        return String::new();
    };
    let value = String::from_utf8_lossy(value.as_bytes());
    let printable = value.chars().filter(|c| !c.is_control());
    printable.take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(version: &str) -> Server {
        Server {
            product: "RabbitMQ".to_owned(),
            version: version.to_owned(),
        }
    }

    #[test]
    fn transient_queues_end_with_version_4_2() {
        for (version, has) in [
            ("3.10.8", true),
            ("4.0.0", true),
            ("4.2.11", true),
            ("", true),
            ("4.3.0-rc.1", false),
            ("4.3.6", false),
            ("5.0", false),
        ] {
            let kinds = server(version).queue_kinds();
            assert_eq!(kinds.contains(&QueueKind::Transient), has, "{version}");
        }
    }

    #[test]
    fn what_a_version_has_is_known_and_nothing_is_assumed() {
        for (version, priorities, timed) in [
            ("", Priorities::None, false),
            ("3.10.8", Priorities::None, false),
            ("3.13.7", Priorities::None, false),
            ("4.0.1", Priorities::Two, false),
            ("4.2.11", Priorities::Two, false),
            ("4.3.0", Priorities::Ten, true),
            ("5.0.0", Priorities::Ten, true),
        ] {
            let server = server(version);
            assert_eq!(server.priorities(), priorities, "{version}");
            assert_eq!(server.times_consumers(), timed, "{version}");
        }
    }

    #[test]
    fn a_greeting_is_read_when_it_is_whole_and_never_before() {
        let mut properties = FieldTable::default();
        for (name, value) in [("product", "RabbitMQ"), ("version", "4.3.6\n")] {
            properties.insert(name.into(), AMQPValue::LongString(value.into()));
        }
        let mut frame = greeting_frame(&properties);
        for end in 0..frame.len() - 1 {
            assert_eq!(Server::read(&frame[..end]), None, "{end} bytes");
        }
        assert_eq!(Server::read(&frame), Some(server("4.3.6")));
        frame[8] = 99;
        assert_eq!(Server::read(&frame), None);
        assert_eq!(server("4.3.6").to_string(), "RabbitMQ 4.3.6");
        assert_eq!(Server::default().to_string(), "RabbitMQ");
    }

    fn greeting_frame(server_properties: &FieldTable) -> Vec<u8> {
        let mut table = Vec::new();
        for (name, value) in server_properties.inner() {
            let AMQPValue::LongString(value) = value else {
                unreachable!()
            };
            table.push(u8::try_from(name.as_str().len()).unwrap());
            table.extend(name.as_str().as_bytes());
            table.push(b'S');
            table.extend(u32::try_from(value.as_bytes().len()).unwrap().to_be_bytes());
            table.extend(value.as_bytes());
        }
        let mut payload = vec![0, 10, 0, 10, 0, 9];
        payload.extend(u32::try_from(table.len()).unwrap().to_be_bytes());
        payload.extend(table);
        for list in ["PLAIN", "en_US"] {
            payload.extend(u32::try_from(list.len()).unwrap().to_be_bytes());
            payload.extend(list.as_bytes());
        }
        let mut frame = vec![1, 0, 0];
        frame.extend(u32::try_from(payload.len()).unwrap().to_be_bytes());
        frame.extend(payload);
        frame.push(0xce);
        frame
    }
}
