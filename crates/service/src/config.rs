//! Reads settings in four layers: defaults, file, environment, flags. The later layer wins.
//!
//! Every value keeps its origin. Unknown keys and wrong values are errors, reported all at once
//! with key, origin and what was expected. Passwords in URLs are never shown.

mod check;
mod layer;
mod path;
mod redact;

pub use redact::redact;

use pumasi_common::{Diagnostic, ErrorCode, Retryability};
use serde::{Serialize, de::DeserializeOwned};
use std::{fmt, io, path::PathBuf};

/// What the variables that set configuration begin with; `__` also stands between levels:
/// `PUMASI__BROKER__URL` sets `broker.url`. Other variables are never read.
pub const ENVIRONMENT_PREFIX: &str = "PUMASI__";

/// Where the file is looked for when none is given.
const DEFAULT_FILES: [&str; 2] = ["pumasi.toml", "/etc/pumasi/pumasi.toml"];

/// Where settings come from besides the defaults.
#[derive(Clone, Debug)]
pub struct Layers {
    /// A TOML file that must exist (`--config`).
    pub file: Option<PathBuf>,
    /// Files of which the first that exists is read when `file` is `None`. Default: `pumasi.toml`
    /// in the working directory, then `/etc/pumasi/pumasi.toml`.
    pub default_files: Vec<PathBuf>,
    /// Which environment is read.
    pub environment: Environment,
    /// Values by dotted key, from flags: `("broker.url", "sqlite:q.db")`. Lists are separated by
    /// commas.
    pub overrides: Vec<(String, String)>,
}

impl Default for Layers {
    fn default() -> Self {
        Self {
            file: None,
            default_files: DEFAULT_FILES.iter().map(PathBuf::from).collect(),
            environment: Environment::Process,
            overrides: Vec::new(),
        }
    }
}

/// Which environment is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Environment {
    /// That of the process.
    #[default]
    Process,
    /// These names and values only.
    Given(Vec<(String, String)>),
}

/// Settings and where each of them came from.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The effective settings.
    pub value: T,
    /// Every effective value in the order of its key, fit to be shown.
    pub origins: Vec<Entry>,
}

/// One effective value and where it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// The dotted key.
    pub key: String,
    /// The value as text without passwords; `none` where nothing is set.
    pub value: String,
    /// `default`, the file's path, `environment (VARIABLE)` or `command line`.
    pub origin: String,
}

/// One thing that is wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The dotted key; empty when the file as a whole is meant.
    pub key: String,
    /// Where the value came from.
    pub origin: String,
    /// What is wrong and what was expected, one clause, without passwords.
    pub problem: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.key.is_empty() {
            write!(f, "{}: {}", self.origin, self.problem)
        } else {
            write!(f, "`{}` from {}: {}", self.key, self.origin, self.problem)
        }
    }
}

/// Why settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("cannot read the configuration file `{}`", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// Keys or values are wrong; never empty.
    #[error("{}", listed(.problems))]
    Invalid {
        /// All that is wrong, in the order of the keys.
        problems: Vec<Problem>,
    },
}

fn listed(problems: &[Problem]) -> String {
    match problems {
        [one] => format!("invalid configuration: {one}"),
        many => many.iter().fold(
            format!("invalid configuration, {} problems:", many.len()),
            |text, problem| format!("{text}\n  {problem}"),
        ),
    }
}

impl Diagnostic for ConfigError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Unreadable { .. } => ErrorCode::ConfigUnreadable,
            Self::Invalid { .. } => ErrorCode::ConfigInvalid,
        }
    }
    fn retryability(&self) -> Retryability {
        Retryability::Permanent
    }
    fn help(&self) -> Option<String> {
        Some(match self {
            Self::Unreadable { .. } => {
                "name a file that exists and that this user may read".to_owned()
            }
            Self::Invalid { .. } => {
                "see `pumasi config show` for every key and where its value comes from".to_owned()
            }
        })
    }
}

/// Reads all layers and gives the effective settings.
///
/// Every struct in `T` should have `#[serde(default, deny_unknown_fields)]` and write every field,
/// or unknown keys in it go unnoticed.
///
/// # Errors
/// [`ConfigError`]: a file cannot be read, or all that is wrong with keys and values.
pub fn load<T>(layers: &Layers) -> Result<Loaded<T>, ConfigError>
where
    T: DeserializeOwned + Serialize + Default,
{
    let mut tree = layer::defaults(&T::default())?;
    if let Some(file) = layer::file(layers)? {
        layer::merge(&mut tree, file);
    }
    let shape = tree.clone();
    for (key, text, origin) in layer::texts(layers)? {
        layer::set(&mut tree, &shape, &key, (&text, &origin));
    }
    let value: T = check::read(&tree)?;
    let origins = check::origins(&value, &tree);
    Ok(Loaded { value, origins })
}

impl<T> Loaded<T> {
    /// Turns contradictions, as `(key, value, expectation)`, into one error with their origins.
    ///
    /// # Errors
    /// [`ConfigError::Invalid`] when there is at least one.
    pub fn refuse<K, E>(
        &self,
        contradictions: impl IntoIterator<Item = (K, String, E)>,
    ) -> Result<(), ConfigError>
    where
        K: Into<String>,
        E: fmt::Display,
    {
        let problem = |(key, value, expected): (K, String, E)| {
            let key = key.into();
            let problem = format!("`{}` is not usable: expected {expected}", redact(&value));
            Problem {
                origin: self.origin(&key).to_owned(),
                key,
                problem,
            }
        };
        let mut problems: Vec<Problem> = contradictions.into_iter().map(problem).collect();
        problems.sort();
        if problems.is_empty() {
            Ok(())
        } else {
            Err(ConfigError::Invalid { problems })
        }
    }

    /// Whether nobody has set this key.
    #[must_use]
    pub fn is_default(&self, key: &str) -> bool {
        self.origin(key) == layer::DEFAULT
    }

    /// Where the value of this key came from.
    #[must_use]
    pub fn origin(&self, key: &str) -> &str {
        self.origins
            .iter()
            .find(|entry| entry.key == key)
            .map_or(layer::DEFAULT, |entry| entry.origin.as_str())
    }
}

#[cfg(test)]
mod tests;
