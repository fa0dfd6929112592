//! A task and its message: [`Task`] ⇄ properties and header table.
//!
//! Reading never fails: whatever another client wrote becomes some task. Writing refuses what
//! the protocol cannot carry before it can cost anybody a channel.

use crate::delay;
use bytes::Bytes;
use lapin::{
    BasicProperties,
    types::{AMQPValue, FieldArray, FieldTable, LongString, ShortString},
};
use pumasi_common::{
    Refusal, Task, TaskId, TaskKind,
    task::{HeaderValue, Headers},
    wire,
};
use std::time::Duration;

/// Most bytes of encoded headers: half of RabbitMQ's frame, which must hold them all.
pub(crate) const HEADERS_BYTES_MAX: usize = 64 * 1024;
/// Deepest nesting of tables and lists that is written or read.
const DEPTH_MAX: usize = 16;
/// `delivery_mode`: written to disk.
const PERSISTENT: u8 = 2;
/// How often the broker has returned a delivery, where it counts.
const DELIVERY_COUNT: &str = "x-delivery-count";

/// The properties of a task's message.
pub(crate) fn properties(task: &Task) -> Result<BasicProperties, Refusal> {
    let headers = wire::write_headers(task);
    let bytes = encoded_len(&headers, 0)?;
    if bytes > HEADERS_BYTES_MAX {
        return Err(Refusal::HeadersTooLarge {
            bytes,
            bytes_max: HEADERS_BYTES_MAX,
        });
    }
    let mut properties = BasicProperties::default()
        .with_delivery_mode(PERSISTENT)
        .with_message_id(short("id", task.id.as_str())?);
    if let Some(kind) = &task.kind {
        properties = properties.with_type(short("kind", kind.as_str())?);
    }
    if let Some(text) = &task.content_type {
        properties = properties.with_content_type(short("content type", text)?);
    }
    if let Some(text) = &task.submitter {
        properties = properties.with_app_id(short("submitter", text)?);
    }
    if let Some(text) = &task.reply_to {
        properties = properties.with_reply_to(short("reply queue", text)?);
    }
    if let Some(text) = &task.correlation_id {
        properties = properties.with_correlation_id(short("correlation id", text)?);
    }
    if let Some(at) = task.submitted_at {
        properties = properties.with_timestamp(at);
    }
    if let Some(priority) = task.priority {
        properties = properties.with_priority(priority);
    }
    if let Some(wait) = task.expires_after {
        let ms = expiration_ms(wait)?;
        properties = properties.with_expiration(short("expiry", &ms.to_string())?);
    }
    if !headers.is_empty() {
        properties = properties.with_headers(write_table(headers));
    }
    Ok(properties)
}

/// The longest expiration RabbitMQ takes, in milliseconds.
fn expiration_ms(wait: Duration) -> Result<u32, Refusal> {
    u32::try_from(wait.as_millis()).map_err(|_| Refusal::Property {
        property: "expiry",
        problem: "it is longer than 49 days".to_owned(),
    })
}

/// A text as a short string, or why it cannot be one.
pub(crate) fn short(property: &'static str, text: &str) -> Result<ShortString, Refusal> {
    let refuse = |problem: &str| Refusal::Property {
        property,
        problem: problem.to_owned(),
    };
    if text.contains('\0') {
        return Err(refuse("it holds a NUL character"));
    }
    ShortString::try_new(text).map_err(|_| refuse("it is longer than 255 bytes"))
}

fn encoded_len(headers: &Headers, depth: usize) -> Result<usize, Refusal> {
    let mut bytes = 4;
    for (name, value) in headers.iter() {
        if name.len() > 255 {
            return Err(Refusal::Property {
                property: "header name",
                problem: "it is longer than 255 bytes".to_owned(),
            });
        }
        bytes += 1 + name.len() + value_len(value, depth)?;
    }
    Ok(bytes)
}

fn value_len(value: &HeaderValue, depth: usize) -> Result<usize, Refusal> {
    if depth > DEPTH_MAX {
        return Err(Refusal::Property {
            property: "header",
            problem: "it is nested deeper than 16 levels".to_owned(),
        });
    }
    Ok(1 + match value {
        HeaderValue::Null => 0,
        HeaderValue::Boolean(_) => 1,
        HeaderValue::Integer(_) | HeaderValue::Float(_) | HeaderValue::Timestamp(_) => 8,
        HeaderValue::Text(text) => 4 + text.len(),
        HeaderValue::Bytes(bytes) => 4 + bytes.len(),
        HeaderValue::List(values) => {
            let mut bytes = 4;
            for value in values {
                bytes += value_len(value, depth + 1)?;
            }
            bytes
        }
        HeaderValue::Table(table) => encoded_len(table, depth + 1)?,
    })
}

fn write_table(headers: Headers) -> FieldTable {
    let mut table = FieldTable::default();
    for (name, value) in headers {
        if let Ok(name) = ShortString::try_new(name) {
            table.insert(name, write_value(value));
        }
    }
    table
}

fn write_value(value: HeaderValue) -> AMQPValue {
    match value {
        HeaderValue::Null => AMQPValue::Void,
        HeaderValue::Boolean(value) => AMQPValue::Boolean(value),
        HeaderValue::Integer(value) => AMQPValue::LongLongInt(value),
        HeaderValue::Float(value) => AMQPValue::Double(value),
        HeaderValue::Text(text) => AMQPValue::LongString(LongString::from(text.into_bytes())),
        HeaderValue::Bytes(bytes) => AMQPValue::LongString(LongString::from(bytes.to_vec())),
        HeaderValue::Timestamp(at) => AMQPValue::Timestamp(at),
        HeaderValue::List(values) => AMQPValue::FieldArray(FieldArray::from(
            values.into_iter().map(write_value).collect::<Vec<_>>(),
        )),
        HeaderValue::Table(table) => AMQPValue::FieldTable(write_table(table)),
    }
}

/// The task of a message, and how often the broker has returned it.
pub(crate) fn task(properties: &BasicProperties, payload: Vec<u8>) -> (Task, u32) {
    let text = |value: &Option<ShortString>| value.as_ref().map(|text| text.as_str().to_owned());
    let id = properties
        .message_id()
        .as_ref()
        .and_then(|id| TaskId::new(id.as_str()).ok())
        .unwrap_or_else(TaskId::generate);
    let mut task = Task::with_id(id, Bytes::from(payload));
    task.kind = properties
        .kind()
        .as_ref()
        .filter(|kind| !kind.as_str().is_empty())
        .map(|kind| TaskKind::from_wire(kind.as_str()));
    task.content_type = text(properties.content_type());
    task.submitter = text(properties.app_id());
    task.reply_to = text(properties.reply_to());
    task.correlation_id = text(properties.correlation_id());
    task.submitted_at = *properties.timestamp();
    task.priority = *properties.priority();
    task.expires_after = properties
        .expiration()
        .as_ref()
        .and_then(|ms| ms.as_str().parse().ok())
        .map(Duration::from_millis);
    let mut headers = properties
        .headers()
        .as_ref()
        .map(|table| read_table(table, 0))
        .unwrap_or_default();
    let delivery_count = headers
        .get(DELIVERY_COUNT)
        .and_then(HeaderValue::as_integer)
        .and_then(|count| u32::try_from(count).ok())
        .unwrap_or(0);
    headers = headers
        .into_iter()
        .filter(|(name, _)| name != DELIVERY_COUNT)
        .collect();
    wire::read_headers(delay::taken_off(headers), &mut task);
    (task, delivery_count)
}

fn read_table(table: &FieldTable, depth: usize) -> Headers {
    table
        .inner()
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), read_value(value, depth)))
        .collect()
}

fn read_value(value: &AMQPValue, depth: usize) -> HeaderValue {
    match value {
        // Its values would be deeper than what can be written again.
        AMQPValue::FieldArray(_) | AMQPValue::FieldTable(_) if depth >= DEPTH_MAX => {
            HeaderValue::Null
        }
        AMQPValue::Boolean(value) => HeaderValue::Boolean(*value),
        AMQPValue::ShortShortInt(value) => HeaderValue::Integer((*value).into()),
        AMQPValue::ShortShortUInt(value) => HeaderValue::Integer((*value).into()),
        AMQPValue::ShortInt(value) => HeaderValue::Integer((*value).into()),
        AMQPValue::ShortUInt(value) => HeaderValue::Integer((*value).into()),
        AMQPValue::LongInt(value) => HeaderValue::Integer((*value).into()),
        AMQPValue::LongUInt(value) => HeaderValue::Integer((*value).into()),
        AMQPValue::LongLongInt(value) => HeaderValue::Integer(*value),
        AMQPValue::Float(value) => HeaderValue::Float((*value).into()),
        AMQPValue::Double(value) => HeaderValue::Float(*value),
        AMQPValue::DecimalValue(decimal) => {
            HeaderValue::Float(f64::from(decimal.value) / 10_f64.powi(i32::from(decimal.scale)))
        }
        AMQPValue::ShortString(text) => HeaderValue::Text(text.as_str().to_owned()),
        AMQPValue::LongString(text) => match std::str::from_utf8(text.as_bytes()) {
            Ok(text) => HeaderValue::Text(text.to_owned()),
            Err(_) => HeaderValue::Bytes(Bytes::copy_from_slice(text.as_bytes())),
        },
        AMQPValue::FieldArray(values) => HeaderValue::List(
            values
                .as_slice()
                .iter()
                .map(|value| read_value(value, depth + 1))
                .collect(),
        ),
        AMQPValue::Timestamp(at) => HeaderValue::Timestamp(*at),
        AMQPValue::FieldTable(table) => HeaderValue::Table(read_table(table, depth + 1)),
        AMQPValue::ByteArray(bytes) => HeaderValue::Bytes(Bytes::copy_from_slice(bytes.as_slice())),
        AMQPValue::Void => HeaderValue::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::num::NonZeroU32;

    #[test]
    fn a_task_survives_the_way_out_and_back() {
        let mut sent = Task::new("payload").with_kind(TaskKind::new("image.resize").unwrap());
        sent.content_type = Some("text/plain".into());
        sent.submitted_at = Some(17);
        sent.priority = Some(3);
        sent.expires_after = Some(Duration::from_millis(1500));
        sent.submitter = Some("me".into());
        sent.reply_to = Some("answers".into());
        sent.correlation_id = Some("c".into());
        sent.attempt = NonZeroU32::new(4).unwrap();
        sent.headers.set(
            "list",
            HeaderValue::List(vec![HeaderValue::Null, HeaderValue::Boolean(true)]),
        );
        let properties = properties(&sent).unwrap();
        let (back, count) = task(&properties, b"payload".to_vec());
        assert_eq!(back, sent);
        assert_eq!(count, 0);
    }

    #[test]
    fn a_message_without_properties_is_a_task() {
        let (task, _) = task(&BasicProperties::default(), vec![]);
        assert_eq!(task.kind, None);
        assert_eq!(task.attempt.get(), 1);
    }

    #[test]
    fn what_the_protocol_cannot_carry_is_refused_before_sending() {
        let mut task = Task::new("x");
        task.reply_to = Some("x".repeat(256));
        assert!(matches!(
            properties(&task),
            Err(Refusal::Property {
                property: "reply queue",
                ..
            })
        ));
        let mut task = Task::new("x");
        task.headers
            .set("big", HeaderValue::Text("x".repeat(70_000)));
        assert!(matches!(
            properties(&task),
            Err(Refusal::HeadersTooLarge { .. })
        ));
        let mut task = Task::new("x");
        task.headers.set("n".repeat(256), HeaderValue::Null);
        assert!(matches!(properties(&task), Err(Refusal::Property { .. })));
    }
}
