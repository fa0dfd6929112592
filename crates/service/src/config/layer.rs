//! Each layer as a tree of values that know their origin.

use super::{ConfigError, ENVIRONMENT_PREFIX, Environment, Layers, Problem};
use config::{Map, Value, ValueKind};
use std::{
    env, fs, io,
    path::{Path, PathBuf},
};

/// The origin of a value that nobody set.
pub(super) const DEFAULT: &str = "default";
const COMMAND_LINE: &str = "command line";

/// The largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The defaults. Fields that are `None` are kept as `nil`, so that every key is known.
pub(super) fn defaults<T: serde::Serialize>(value: &T) -> Result<Value, ConfigError> {
    let json = serde_json::to_value(value)
        .map_err(|error| whole(DEFAULT, format!("cannot be written: {error}")))?;
    Ok(of_json(json, &DEFAULT.to_owned()))
}

/// The file that is in force, if any.
pub(super) fn file(layers: &Layers) -> Result<Option<Value>, ConfigError> {
    if let Some(path) = &layers.file {
        return read(path).map(Some);
    }
    for path in &layers.default_files {
        match read(path) {
            Err(ConfigError::Unreadable { source, .. })
                if source.kind() == io::ErrorKind::NotFound => {}
            read => return read.map(Some),
        }
    }
    Ok(None)
}

fn read(path: &Path) -> Result<Value, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable {
        path: PathBuf::from(path),
        source,
    };
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    if bytes > FILE_BYTES_MAX {
        let problem = format!("has {bytes} bytes, more than the limit of {FILE_BYTES_MAX}");
        return Err(whole(&path.display().to_string(), problem));
    }
    let text = fs::read_to_string(path).map_err(unreadable)?;
    parse(&text, &path.display().to_string())
}

fn parse(text: &str, origin: &str) -> Result<Value, ConfigError> {
    match text.parse::<toml::Table>() {
        Ok(table) => Ok(of_toml(toml::Value::Table(table), &origin.to_owned())),
        Err(error) => {
            // Only the parser's words: the line itself may hold a password.
            let start = error.span().map_or(0, |span| span.start);
            let line = text.bytes().take(start).filter(|b| *b == b'\n').count() + 1;
            let problem = format!("line {line} is not TOML: {}", error.message());
            Err(whole(origin, problem))
        }
    }
}

/// Values given as text, in the order in which they apply: `(key, text, origin)`.
pub(super) fn texts(layers: &Layers) -> Result<Vec<(String, String, String)>, ConfigError> {
    let mut variables = match &layers.environment {
        Environment::Process => process_environment()?,
        Environment::Given(given) => given.clone(),
    };
    variables.sort();
    let variables = variables.into_iter().filter_map(|(name, text)| {
        let key = name.strip_prefix(ENVIRONMENT_PREFIX)?;
        let key = key.to_lowercase().replace("__", ".");
        Some((key, text, format!("environment ({name})")))
    });
    let flags = layers
        .overrides
        .iter()
        .map(|(key, text)| (key.clone(), text.clone(), COMMAND_LINE.to_owned()));
    Ok(variables.chain(flags).collect())
}

fn process_environment() -> Result<Vec<(String, String)>, ConfigError> {
    let mut variables = Vec::new();
    for (name, value) in env::vars_os() {
        let Some(name) = name.to_str().filter(|n| n.starts_with(ENVIRONMENT_PREFIX)) else {
            continue;
        };
        match value.into_string() {
            Ok(value) => variables.push((name.to_owned(), value)),
            Err(_) => {
                let origin = format!("environment ({name})");
                return Err(whole(&origin, "is not UTF-8".to_owned()));
            }
        }
    }
    Ok(variables)
}

/// Puts `over` on top of `under`: tables are merged, everything else is replaced.
pub(super) fn merge(under: &mut Value, over: Value) {
    let origin = over.origin().map(str::to_owned);
    match (&mut under.kind, over.kind) {
        (ValueKind::Table(under), ValueKind::Table(over)) => {
            for (key, value) in over {
                match under.get_mut(&key) {
                    Some(present) => merge(present, value),
                    None => {
                        under.insert(key, value);
                    }
                }
            }
        }
        (_, kind) => *under = Value::new(origin.as_ref(), kind),
    }
}

/// Sets one value given as text; where `shape` has a list, the text is split at commas.
pub(super) fn set(tree: &mut Value, shape: &Value, key: &str, (text, origin): (&str, &String)) {
    let is_list = matches!(
        find(shape, key).map(|value| &value.kind),
        Some(ValueKind::Array(_))
    );
    let one = |text: &str| Value::new(Some(origin), ValueKind::String(text.to_owned()));
    let leaf = if is_list {
        let parts = text
            .split(',')
            .map(str::trim)
            .filter(|part| !part.is_empty());
        Value::new(Some(origin), ValueKind::Array(parts.map(one).collect()))
    } else {
        one(text)
    };
    let nested = key.rsplit('.').fold(leaf, |value, part| {
        let table = Map::from_iter([(part.to_owned(), value)]);
        Value::new(Some(origin), ValueKind::Table(table))
    });
    merge(tree, nested);
}

/// The value of a dotted key, tables only.
pub(super) fn find<'a>(tree: &'a Value, key: &str) -> Option<&'a Value> {
    key.split('.').try_fold(tree, |value, part| {
        if let ValueKind::Table(table) = &value.kind {
            table.get(part)
        } else {
            None
        }
    })
}

fn whole(origin: &str, problem: String) -> ConfigError {
    ConfigError::Invalid {
        problems: vec![Problem {
            key: String::new(),
            origin: origin.to_owned(),
            problem,
        }],
    }
}

fn of_json(json: serde_json::Value, origin: &String) -> Value {
    let kind = match json {
        serde_json::Value::Null => ValueKind::Nil,
        serde_json::Value::Bool(value) => ValueKind::Boolean(value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => ValueKind::I64(value),
            (None, Some(value)) => ValueKind::U64(value),
            (None, None) => ValueKind::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(value) => ValueKind::String(value),
        serde_json::Value::Array(values) => {
            ValueKind::Array(values.into_iter().map(|v| of_json(v, origin)).collect())
        }
        serde_json::Value::Object(fields) => {
            let of_field = |(key, v)| (key, of_json(v, origin));
            ValueKind::Table(fields.into_iter().map(of_field).collect())
        }
    };
    Value::new(Some(origin), kind)
}

fn of_toml(value: toml::Value, origin: &String) -> Value {
    let kind = match value {
        toml::Value::String(value) => ValueKind::String(value),
        toml::Value::Integer(value) => ValueKind::I64(value),
        toml::Value::Float(value) => ValueKind::Float(value),
        toml::Value::Boolean(value) => ValueKind::Boolean(value),
        toml::Value::Datetime(value) => ValueKind::String(value.to_string()),
        toml::Value::Array(values) => {
            ValueKind::Array(values.into_iter().map(|v| of_toml(v, origin)).collect())
        }
        toml::Value::Table(fields) => {
            let of_field = |(key, v)| (key, of_toml(v, origin));
            ValueKind::Table(fields.into_iter().map(of_field).collect())
        }
    };
    Value::new(Some(origin), kind)
}
