//! Takes passwords out of text that is shown.

/// What stands in a password's place.
const REDACTED: &str = "[redacted]";

/// The text without the passwords of the URLs in it: `amqp://user:[redacted]@host`.
///
/// Errs on the side of hiding: everything from the first `:` behind the scheme to the last `@` of
/// a word is taken for a password.
#[must_use]
pub fn redact(text: &str) -> String {
    text.split_inclusive(ends_word).map(word).collect()
}

fn ends_word(c: char) -> bool {
    c.is_whitespace() || c == '"' || c == '`' || c == '\''
}

fn word(word: &str) -> String {
    let Some((login, rest)) = word.rsplit_once('@') else {
        return word.to_owned();
    };
    let Some((scheme, login)) = login.split_once(':') else {
        return word.to_owned();
    };
    let (slashes, login) = match login.strip_prefix("//") {
        Some(login) => ("//", login),
        None => ("", login),
    };
    match login.split_once(':') {
        Some((user, _)) => format!("{scheme}:{slashes}{user}:{REDACTED}@{rest}"),
        None if slashes.is_empty() => format!("{scheme}:{REDACTED}@{rest}"),
        None => word.to_owned(),
    }
}

/// Whether values of this key are never shown at all.
pub(super) fn is_secret(key: &str) -> bool {
    let name = key.rsplit('.').next().unwrap_or(key);
    ["password", "secret", "token"]
        .iter()
        .any(|word| name.ends_with(word))
}

/// The value as it may be shown.
pub(super) fn shown(key: &str, value: &str) -> String {
    if is_secret(key) && !value.is_empty() {
        REDACTED.to_owned()
    } else {
        redact(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_in_urls_are_hidden_and_nothing_else() {
        for (text, expected) in [
            ("amqp://u:hunter2@h/v", "amqp://u:[redacted]@h/v"),
            ("amqp://u:hunt@er/2:x@h/v", "amqp://u:[redacted]@h/v"),
            ("amqps://:hunter2@h", "amqps://:[redacted]@h"),
            ("amqp:u:hunter2@h", "amqp:u:[redacted]@h"),
            ("u:hunter2@h", "u:[redacted]@h"),
            (
                "string \"amqp://u:hunter2@h\" bad",
                "string \"amqp://u:[redacted]@h\" bad",
            ),
            ("amqp://u@h:5672/v", "amqp://u@h:5672/v"),
            ("http://h:4318/v1", "http://h:4318/v1"),
            ("someone@example.org", "someone@example.org"),
            ("sqlite:/a/b.db", "sqlite:/a/b.db"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn values_of_secret_keys_are_hidden_and_their_file_names_are_not() {
        assert_eq!(shown("a.password", "hunter2"), REDACTED);
        assert_eq!(shown("a.password_file", "/run/secret"), "/run/secret");
    }
}
