//! Turns the merged tree into settings and finds all that is wrong with it at once.
//!
//! The reader stops at the first problem, so the offending value is taken out and the tree is read
//! again until nothing is left to complain about.

use super::{
    ConfigError, Entry, Problem, layer,
    redact::{redact, shown},
};
use config::{ConfigError as Foreign, Value, ValueKind};
use serde::{Serialize, de::DeserializeOwned};

/// Most problems that are reported at once.
const PROBLEMS_MAX: usize = 50;

/// Reads the settings out of the tree, or gives all that is wrong with it.
pub(super) fn read<T: DeserializeOwned>(tree: &Value) -> Result<T, ConfigError> {
    let mut rest = tree.clone();
    let mut problems: Vec<Problem> = Vec::new();
    loop {
        let error = match T::deserialize(rest.clone()) {
            Ok(value) if problems.is_empty() => return Ok(value),
            Ok(_) => break,
            Err(error) => Complaint::of(error),
        };
        let repeated = problems.iter().any(|problem| problem.key == error.key);
        if repeated {
            break;
        }
        let taken = take(&mut rest, &error.key);
        problems.push(error.into_problem(tree));
        if !taken || problems.len() == PROBLEMS_MAX {
            break;
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
        match error {
            Foreign::NotFound(key) => Self {
                key,
                text: "is missing".to_owned(),
            },
            Foreign::Type {
                unexpected,
                expected,
                key,
                ..
            } => Self {
                key: key.unwrap_or_default(),
                text: format!("{unexpected} where {expected} was expected"),
            },
            Foreign::At { error, key, .. } => {
                Self::of_message(key.unwrap_or_default(), &error.to_string())
            }
            other => Self::of_message(String::new(), &other.to_string()),
        }
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

    fn into_problem(self, tree: &Value) -> Problem {
        Problem {
            origin: origin(tree, &self.key),
            problem: redact(&self.text),
            key: self.key,
        }
    }
}

/// One step of a path: a field of a table or a place in a list.
enum Step<'a> {
    Field(&'a str),
    Index(usize),
}

/// `a.b[0].c` as steps.
fn steps(key: &str) -> Vec<Step<'_>> {
    key.split(['.', '['])
        .filter(|part| !part.is_empty())
        .map(|part| {
            part.strip_suffix(']')
                .and_then(|index| index.parse().ok())
                .map_or(Step::Field(part), Step::Index)
        })
        .collect()
}

/// The origin of the value of this key, or of what is nearest above it.
fn origin(tree: &Value, key: &str) -> String {
    let mut nearest = tree;
    for step in steps(key) {
        let next = match (&nearest.kind, step) {
            (ValueKind::Table(table), Step::Field(field)) => table.get(field),
            (ValueKind::Array(values), Step::Index(index)) => values.get(index),
            _ => None,
        };
        let Some(next) = next else { break };
        nearest = next;
    }
    nearest.origin().unwrap_or(layer::DEFAULT).to_owned()
}

/// Takes the value of this key out of the tree. False when it is not there.
fn take(tree: &mut Value, key: &str) -> bool {
    let mut path = steps(key);
    let Some(last) = path.pop() else { return false };
    let mut parent = tree;
    for step in path {
        let next = match (&mut parent.kind, step) {
            (ValueKind::Table(table), Step::Field(field)) => table.get_mut(field),
            (ValueKind::Array(values), Step::Index(index)) => values.get_mut(index),
            _ => None,
        };
        let Some(next) = next else { return false };
        parent = next;
    }
    match (&mut parent.kind, last) {
        (ValueKind::Table(table), Step::Field(field)) => table.remove(field).is_some(),
        (ValueKind::Array(values), Step::Index(index)) if index < values.len() => {
            values.remove(index);
            true
        }
        _ => false,
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
        origin: origin(tree, &key),
        key,
    });
}
