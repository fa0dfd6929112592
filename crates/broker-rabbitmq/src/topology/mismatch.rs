//! Reads the broker's words about a declaration that does not fit what exists. Pure.
//!
//! `PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received
//! none but current is the value '5' of type 'long'`; 3.10 and 4.x say the same.

use pumasi_common::topology::Difference;

/// The difference that a 406 text names.
pub(crate) fn parse(text: &str) -> Option<Difference> {
    let (_, rest) = text.split_once("inequivalent arg '")?;
    let (argument, rest) = rest.split_once("' for ")?;
    let (object, rest) = rest.split_once(" in vhost '")?;
    let (_, rest) = rest.split_once("': received ")?;
    let (want, have) = rest.split_once(" but current is ")?;
    Some(Difference {
        object: object.replace('\'', "`"),
        argument: argument.to_owned(),
        have: value(have),
        want: value(want),
    })
}

/// `the value '5' of type 'long'` → `5`; `none` and `'true'` as they are, without quotes.
fn value(text: &str) -> String {
    let text = text.trim();
    let inner = text
        .strip_prefix("the value '")
        .and_then(|rest| rest.rsplit_once("' of type ").map(|(value, _)| value));
    inner.unwrap_or_else(|| text.trim_matches('\'')).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_both_versions_are_understood() {
        for (text, object, argument, have, want) in [
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue 'q' in vhost '/': received the value '10' of type 'signedint' but current is the value '5' of type 'signedint'",
                "queue `q`",
                "x-max-length",
                "5",
                "10",
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'a.b' in vhost 'v': received 'quorum' but current is 'classic'",
                "queue `a.b`",
                "x-queue-type",
                "classic",
                "quorum",
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': received 'true' but current is 'false'",
                "queue `q`",
                "durable",
                "false",
                "true",
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'x-overflow' for queue 'q' in vhost '/': received the value 'reject-publish' of type 'longstr' but current is none",
                "queue `q`",
                "x-overflow",
                "none",
                "reject-publish",
            ),
            (
                "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'orders' in vhost '/': received 'topic' but current is 'fanout'",
                "exchange `orders`",
                "type",
                "fanout",
                "topic",
            ),
        ] {
            let difference = parse(text).unwrap();
            assert_eq!(
                (
                    difference.object.as_str(),
                    difference.argument.as_str(),
                    difference.have.as_str(),
                    difference.want.as_str()
                ),
                (object, argument, have, want)
            );
        }
        assert_eq!(parse("PRECONDITION_FAILED - unknown delivery tag 7"), None);
    }
}
