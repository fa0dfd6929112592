//! Turns the merged tree into settings and finds all that is wrong with it at once.
//!
//! The reader stops at the first problem, so the offending value is taken out and the tree is read
//! again until nothing is left to complain about.

use super::{
    ConfigError, Entry, Problem, path,
    redact::{redact, shown},
};
use config::{ConfigError as Foreign, Value};
use serde::{Serialize, de::DeserializeOwned};

/// Most problems that are reported at once.
const PROBLEMS_MAX: usize = 50;

/// How the reader complains about a word that its enum does not have.
const UNKNOWN_WORD: &str = " does not have variant constructor ";

/// Reads the settings out of the tree, or gives all that is wrong with it.
pub(super) fn read<T: DeserializeOwned>(tree: &Value) -> Result<T, ConfigError> {
    let mut rest = tree.clone();
    let mut problems: Vec<Problem> = Vec::new();
    let mut taken = Vec::new();
    while problems.len() < PROBLEMS_MAX {
        let complaint = match T::deserialize(rest.clone()) {
            Ok(value) if problems.is_empty() => return Ok(value),
            Ok(_) => break,
            Err(error) => Complaint::of(error).with_variants::<T>(),
        };
        let key = path::as_written(&complaint.key, &taken);
        if !problems.iter().any(|problem| problem.key == key) {
            problems.push(Problem {
                origin: path::origin(tree, &key),
                problem: redact(&complaint.text),
                key,
            });
        }
        match path::take(&mut rest, &complaint.key) {
            Some(key) => taken.push(path::as_written(&key, &taken)),
            None => break,
        }
    }
    problems.sort();
    Err(ConfigError::Invalid { problems })
}

/// The reader's complaint: which key, and what is wrong.
struct Complaint {
    key: String,
    text: String,
}

impl Complaint {
    fn of(error: Foreign) -> Self {
        if let Foreign::NotFound(key) = error {
            return Self {
                key: path::dotted(&key),
                text: "is missing".to_owned(),
            };
        }
        if let Foreign::Type {
            unexpected,
            expected,
            key,
            ..
        } = error
        {
            return Self {
                key: path::dotted(&key.unwrap_or_default()),
                text: format!("{unexpected} where {expected} was expected"),
            };
        }
        if let Foreign::At { error, key, .. } = error {
            return Self::of_message(path::dotted(&key.unwrap_or_default()), &error.to_string());
        }
        Self::of_message(String::new(), &error.to_string())
    }

    /// A complaint about a field the struct at `key` does not have names that field.
    fn of_message(key: String, message: &str) -> Self {
        let unknown = message
            .strip_prefix("unknown field `")
            .and_then(|rest| rest.split_once('`'));
        match unknown {
            Some((field, rest)) => Self {
                key: if key.is_empty() {
                    field.to_owned()
                } else {
                    format!("{key}.{field}")
                },
                text: format!("unknown key{rest}"),
            },
            None => Self {
                key,
                text: message.to_owned(),
            },
        }
    }

    /// The reader does not say what values a word may have; another reader is asked that does.
    fn with_variants<T: DeserializeOwned>(mut self) -> Self {
        let Some((_, word)) = self.text.split_once(UNKNOWN_WORD) else {
            return self;
        };
        let alone = path::alone(&self.key, serde_json::Value::from(word));
        self.text = match serde_json::from_value::<T>(alone) {
            Err(error) if error.to_string().starts_with("unknown variant") => error
                .to_string()
                .replacen("unknown variant", "unknown value", 1),
            _ => format!("unknown value `{word}`"),
        };
        self
    }
}

/// Every effective value with its origin, in the order of the keys.
pub(super) fn origins<T: Serialize>(value: &T, tree: &Value) -> Vec<Entry> {
    let mut entries = Vec::new();
    if let Ok(json) = serde_json::to_value(value) {
        list(&mut entries, tree, String::new(), &json);
    }
    entries.sort_by(|one, other| one.key.cmp(&other.key));
    entries
}

fn list(entries: &mut Vec<Entry>, tree: &Value, key: String, json: &serde_json::Value) {
    let text = match json {
        serde_json::Value::Object(fields) if !fields.is_empty() => {
            for (field, value) in fields {
                let key = if key.is_empty() {
                    field.clone()
                } else {
                    format!("{key}.{field}")
                };
                list(entries, tree, key, value);
            }
            return;
        }
        serde_json::Value::Null => "none".to_owned(),
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::Array(_)
        | serde_json::Value::Object(_) => json.to_string(),
    };
    entries.push(Entry {
        value: shown(&key, &text),
        origin: path::origin(tree, &key),
        key,
    });
}
