//! The file of keys.

use super::{Key, Patterns, pace::Pace};
use crate::envelope::without_values;
use pumasi_common::{Diagnostic, ErrorCode, Retryability};
use serde::Deserialize;
use std::{
    collections::HashSet,
    io,
    num::NonZeroU32,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

/// The largest file of keys, in bytes: some ten thousand keys.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Why a file of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It cannot be read.
    #[error("cannot read the keys file `{}`", .path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// The system's words.
        source: io::Error,
    },
    /// What it says is wrong.
    #[error("invalid keys file `{}`: {problem}", .path.display())]
    Invalid {
        /// Which file.
        path: PathBuf,
        /// What is wrong; never a key.
        problem: String,
    },
}

impl Diagnostic for KeysError {
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
        Some(
            match self {
                Self::Unreadable { .. } => {
                    "give `gateway.keys_file` a file that this user may read"
                }
                Self::Invalid { .. } => {
                    "each key is a table [[keys]] with name, sha256, and queues or topics"
                }
            }
            .to_owned(),
        )
    }
}

/// What tells that a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    modified: Option<SystemTime>,
    bytes: u64,
}

impl Stamp {
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let meta = std::fs::metadata(path)?;
        Ok(Self {
            modified: meta.modified().ok(),
            bytes: meta.len(),
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default)]
    keys: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    sha256: String,
    #[serde(default)]
    queues: Vec<String>,
    #[serde(default)]
    topics: Vec<String>,
    kinds: Option<Vec<String>>,
    rate: Option<NonZeroU32>,
    burst: Option<NonZeroU32>,
}

/// Reads the keys. The stamp is that from before, so that no change is missed.
pub(super) fn read(path: &Path) -> Result<(Stamp, Vec<Arc<Key>>), KeysError> {
    let unreadable = |source| KeysError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let stamp = Stamp::of(path).map_err(unreadable)?;
    if stamp.bytes > FILE_BYTES_MAX {
        return Err(unreadable(io::ErrorKind::FileTooLarge.into()));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let keys = keys_of(&text).map_err(|problem| KeysError::Invalid {
        path: path.to_owned(),
        problem,
    })?;
    Ok((stamp, keys))
}

fn keys_of(text: &str) -> Result<Vec<Arc<Key>>, String> {
    let table: Table = toml::from_str(text).map_err(|error| {
        // The whole text would quote the line, and with it what may be a key.
        let before = error.span().and_then(|span| text.get(..span.start));
        let line = before.map_or(1, |before| before.matches('\n').count() + 1);
        format!("line {line}: {}", without_values(error.message()))
    })?;
    // Half a file must not lock everybody out.
    if table.keys.is_empty() {
        return Err("it holds no [[keys]]".to_owned());
    }
    let (mut names, mut digests) = (HashSet::new(), HashSet::new());
    let mut keys = Vec::new();
    for (entry, number) in table.keys.into_iter().zip(1..) {
        let key = key_of(entry).map_err(|problem| format!("key {number}: {problem}"))?;
        if !names.insert(key.name.clone()) {
            return Err(format!("key {number}: the name `{}` is taken", key.name));
        }
        if !digests.insert(key.digest) {
            return Err(format!("key {number}: another has the same `sha256`"));
        }
        keys.push(Arc::new(key));
    }
    Ok(keys)
}

fn key_of(entry: Entry) -> Result<Key, String> {
    let name_is_good = (1..=64).contains(&entry.name.len())
        && entry.name.bytes().all(|byte| byte.is_ascii_graphic());
    if !name_is_good {
        return Err("`name` is not 1 to 64 visible characters".to_owned());
    }
    let digest = digest_of(&entry.sha256).ok_or("`sha256` is not 64 hexadecimal digits")?;
    if entry.queues.is_empty() && entry.topics.is_empty() {
        return Err("it allows nothing: give it `queues` or `topics`, [\"*\"] for all".to_owned());
    }
    if entry.burst.is_some() && entry.rate.is_none() {
        return Err("`burst` counts with `rate` only".to_owned());
    }
    Ok(Key {
        name: entry.name,
        digest,
        queues: patterns("queues", entry.queues)?,
        topics: patterns("topics", entry.topics)?,
        kinds: entry
            .kinds
            .map(|kinds| patterns("kinds", kinds))
            .transpose()?,
        pace: entry
            .rate
            .map(|rate| Pace::new(rate, entry.burst.unwrap_or(rate))),
    })
}

fn patterns(what: &str, patterns: Vec<String>) -> Result<Patterns, String> {
    for pattern in &patterns {
        let beginning = pattern.strip_suffix('*').unwrap_or(pattern);
        if pattern.is_empty() || beginning.contains('*') {
            return Err(format!(
                "`{what}` holds `{}`: expected a name, or its beginning and one `*`",
                pattern.escape_debug()
            ));
        }
    }
    Ok(Patterns(patterns))
}

fn digest_of(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "f52fbd32b2b3b86ff88ef6c490628285f482af15ddcb29541f94bcf526a3f6c7";

    fn problem(text: &str) -> String {
        keys_of(text).map(drop).unwrap_err()
    }

    #[test]
    fn a_key_allows_what_is_named_and_nothing_else() {
        let text = format!(
            "[[keys]]\nname = 'ci'\nsha256 = '{DIGEST}'\nqueues = ['builds', 'mail.*']\n\
             kinds = ['*']\nrate = 100\n"
        );
        let keys = keys_of(&text).unwrap();
        let key = &keys[0];
        assert_eq!(key.digest[..2], [0xf5, 0x2f]);
        for (queue, allowed) in [
            ("builds", true),
            ("builds.dead", false),
            ("mail.a", true),
            ("mail", false),
        ] {
            assert_eq!(key.queues.allow(queue), allowed, "{queue}");
        }
        assert!(!key.topics.allow("anything"));
        assert!(key.kinds.as_ref().unwrap().allow("anything"));
        assert!(key.pace.is_some());
    }

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_its_keys() {
        let key = |more: &str| format!("[[keys]]\nname = 'ci'\nsha256 = '{DIGEST}'\n{more}\n");
        let good = key("queues = ['*']");
        for (text, expected) in [
            (String::new(), "no [[keys]]"),
            ("hunter2".to_owned(), "line 1"),
            (key("queues = 'hunter2'"), "line 4: invalid type: string"),
            (key("colour = 'hunter2'"), "line 4: unknown field `colour`"),
            (key(""), "key 1: it allows nothing"),
            (key("queues = ['a*b']"), "key 1: `queues` holds `a*b`"),
            (key("queues = ['*']\nburst = 3"), "with `rate` only"),
            (key("queues = ['*']\nrate = 0"), "line 5: invalid value"),
            (good.replace(DIGEST, "hunter2"), "64 hexadecimal digits"),
            (good.replace("'ci'", "'c i'"), "visible characters"),
            (good.repeat(2), "key 2: the name `ci` is taken"),
            (
                good.clone() + &good.replace("'ci'", "'b'"),
                "key 2: another has the same",
            ),
        ] {
            let problem = problem(&text);
            assert!(problem.contains(expected), "{text}: {problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
}
