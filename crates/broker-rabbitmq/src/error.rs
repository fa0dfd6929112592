//! What the broker's refusals mean: reply codes and texts out of lapin's errors.

use lapin::{Error, ErrorKind};
use pumasi_common::error::Cause;

/// The reply codes that are told apart.
pub(crate) const CONTENT_TOO_LARGE: u16 = 311;
pub(crate) const CONNECTION_FORCED: u16 = 320;
pub(crate) const ACCESS_REFUSED: u16 = 403;
pub(crate) const NOT_FOUND: u16 = 404;
pub(crate) const PRECONDITION_FAILED: u16 = 406;
pub(crate) const FRAME_ERROR: u16 = 501;
pub(crate) const SYNTAX_ERROR: u16 = 502;
pub(crate) const NOT_ALLOWED: u16 = 530;
pub(crate) const NOT_IMPLEMENTED: u16 = 540;
pub(crate) const INTERNAL_ERROR: u16 = 541;

/// The broker's reply code and text, where it closed a channel or connection.
pub(crate) fn reply(error: &Error) -> Option<(u16, String)> {
    if let ErrorKind::ProtocolError(amqp) = error.kind() {
        Some((amqp.get_id(), amqp.get_message().to_string()))
    } else {
        None
    }
}

/// Whether the broker says this of what a message consists of, so that it never takes it.
pub(crate) fn is_about_content(code: u16) -> bool {
    matches!(
        code,
        CONTENT_TOO_LARGE | PRECONDITION_FAILED | FRAME_ERROR | SYNTAX_ERROR
    )
}

/// The error as an opaque cause.
pub(crate) fn cause(error: Error) -> Option<Cause> {
    Some(Box::new(error))
}

/// The exchange named in `no exchange 'x' in vhost` or `access to exchange 'x' in vhost`.
///
/// The default exchange is called `amq.default` there and `""` here.
pub(crate) fn exchange_in(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("exchange '")?;
    let (name, _) = rest.split_once("' in vhost")?;
    Some(if name == "amq.default" { "" } else { name })
}

/// Size and limit in `message size 17825792 is larger than configured max size 16777216`, which
/// is said without `configured` where the limit is the largest there can be.
pub(crate) fn size_in(text: &str) -> Option<(usize, usize)> {
    let (_, rest) = text.split_once("message size ")?;
    let (size, rest) = rest.split_once(' ')?;
    let (_, limit) = rest.rsplit_once("max size ")?;
    Some((size.parse().ok()?, limit.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_is_found_in_the_brokers_text() {
        for (text, found) in [
            (
                "PRECONDITION_FAILED - message size 17 is larger than configured max size 16",
                Some((17, 16)),
            ),
            (
                "PRECONDITION_FAILED - message size 17 is larger than max size 16",
                Some((17, 16)),
            ),
            ("PRECONDITION_FAILED - invalid expiration '-1'", None),
        ] {
            assert_eq!(size_in(text), found);
        }
    }

    #[test]
    fn the_exchange_is_found_in_the_brokers_text() {
        assert_eq!(
            exchange_in("NOT_FOUND - no exchange 'orders' in vhost '/'"),
            Some("orders")
        );
        assert_eq!(
            exchange_in(
                "ACCESS_REFUSED - access to exchange 'amq.default' in vhost '/' refused for user 'u'"
            ),
            Some("")
        );
        assert_eq!(
            exchange_in("PRECONDITION_FAILED - message size 1 larger than max"),
            None
        );
    }
}
