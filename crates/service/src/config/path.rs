//! Dotted keys as paths through the tree: `queues[0].name`.

use super::layer;
use config::{Value, ValueKind};

/// One step of a path: a field of a table or a place in a list.
#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Index(usize),
}

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

fn written<'a>(steps: impl IntoIterator<Item = Step<'a>>) -> String {
    steps
        .into_iter()
        .fold(String::new(), |key, step| match step {
            Step::Index(index) => format!("{key}[{index}]"),
            Step::Field(field) if key.is_empty() => field.to_owned(),
            Step::Field(field) => format!("{key}.{field}"),
        })
}

/// `queues[0]name`, as the reader writes it, with its dot: `queues[0].name`.
pub(super) fn dotted(key: &str) -> String {
    let spaced = key.replace(']', "].");
    written(steps(&spaced))
}

/// A key of the tree from which list elements were taken, as a key of the tree as it was written.
pub(super) fn as_written(key: &str, taken: &[String]) -> String {
    let mut path: Vec<Step<'_>> = Vec::new();
    for step in steps(key) {
        let step = match step {
            Step::Field(_) => step,
            Step::Index(index) => Step::Index(place(&path, index, taken)),
        };
        path.push(step);
    }
    written(path)
}

/// Where in the list as written the element stands that is now at `index`.
fn place(list: &[Step<'_>], index: usize, taken: &[String]) -> usize {
    let is_taken = |place| {
        let key = written(list.iter().copied().chain([Step::Index(place)]));
        taken.contains(&key)
    };
    let mut place = 0;
    let mut before = index;
    while before > 0 || is_taken(place) {
        if !is_taken(place) {
            before -= 1;
        }
        place += 1;
    }
    place
}

/// The origin of the value of this key, or of what is nearest above it.
pub(super) fn origin(tree: &Value, key: &str) -> String {
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

/// Takes the value of this key out of the tree, or what is nearest above it, and says which.
pub(super) fn take(tree: &mut Value, key: &str) -> Option<String> {
    let mut path = steps(key);
    while let Some(last) = path.pop() {
        let gone = match (at(tree, &path).map(|parent| &mut parent.kind), last) {
            (Some(ValueKind::Table(table)), Step::Field(field)) => table.remove(field).is_some(),
            (Some(ValueKind::Array(values)), Step::Index(index)) if index < values.len() => {
                values.remove(index);
                true
            }
            _ => false,
        };
        if gone {
            path.push(last);
            return Some(written(path));
        }
    }
    None
}

fn at<'a>(tree: &'a mut Value, path: &[Step<'_>]) -> Option<&'a mut Value> {
    path.iter()
        .try_fold(tree, |value, step| match (&mut value.kind, *step) {
            (ValueKind::Table(table), Step::Field(field)) => table.get_mut(field),
            (ValueKind::Array(values), Step::Index(index)) => values.get_mut(index),
            _ => None,
        })
}

/// A tree that holds nothing but this value.
pub(super) fn alone(key: &str, value: serde_json::Value) -> serde_json::Value {
    steps(key)
        .into_iter()
        .rev()
        .fold(value, |value, step| match step {
            Step::Field(field) => serde_json::json!({ field: value }),
            Step::Index(_) => serde_json::json!([value]),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_with_dots_between_fields() {
        for (key, expected) in [
            ("a.b", "a.b"),
            ("a[0]b", "a[0].b"),
            ("a[0].b[12]c", "a[0].b[12].c"),
        ] {
            assert_eq!(dotted(key), expected);
        }
    }

    #[test]
    fn a_place_in_a_list_is_that_before_elements_were_taken_out() {
        let taken = ["q[0]".to_owned(), "q[2]".to_owned()];
        assert_eq!(as_written("q[0].name", &taken), "q[1].name");
        assert_eq!(as_written("q[1].name", &taken), "q[3].name");
        assert_eq!(as_written("r[0]", &taken), "r[0]");
    }
}
