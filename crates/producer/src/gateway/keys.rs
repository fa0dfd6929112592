//! Who may ask for what: bearer keys, and what each of them allows.
//!
//! See [`Keys::caller`] first. The keys come from a [`file`](mod@file), which is followed while the
//! gateway serves.

mod file;
mod pace;

pub use file::KeysError;

use super::problem::Problem;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use file::Stamp;
use pace::Pace;
use pumasi_common::{QueueName, TaskKind, TopicName};
use sha2::{Digest as _, Sha256};
use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};
use subtle::ConstantTimeEq as _;

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a client without a key is told to bring.
const CHALLENGE: &str = "Bearer realm=\"pumasi\"";
/// What a client with a wrong one is told.
const CHALLENGE_WRONG: &str = "Bearer realm=\"pumasi\", error=\"invalid_token\"";

/// What a key allows.
#[derive(Debug)]
struct Key {
    name: String,
    /// SHA-256 of the key: it is nowhere else.
    digest: [u8; 32],
    queues: Patterns,
    topics: Patterns,
    /// Absent: every kind, and none.
    kinds: Option<Patterns>,
    pace: Option<Pace>,
}

/// Names: each as it is, or by its beginning and a `*`.
#[derive(Debug)]
struct Patterns(Vec<String>);

impl Patterns {
    fn allow(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => name == pattern,
            })
    }
}

/// The keys in force. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Keys {
    /// Absent where everybody may ask.
    known: Option<Arc<RwLock<Vec<Arc<Key>>>>>,
}

/// A file of keys, as it was when it was looked at last.
#[derive(Debug)]
pub(super) struct Followed {
    keys: Keys,
    path: PathBuf,
    seen: Option<Stamp>,
}

impl Keys {
    /// Reads the file, where there is one.
    pub(super) fn open(path: Option<&PathBuf>) -> Result<(Self, Option<Followed>), KeysError> {
        let Some(path) = path else {
            return Ok((Self::default(), None));
        };
        let (seen, known) = file::read(path)?;
        let keys = Self {
            known: Some(Arc::new(RwLock::new(known))),
        };
        let followed = Followed {
            keys: keys.clone(),
            path: path.clone(),
            seen: Some(seen),
        };
        Ok((keys, Some(followed)))
    }

    /// Who asks, or what to answer instead.
    fn caller(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        let Some(known) = &self.known else {
            return Ok(Caller(None));
        };
        let refuse = |title: &str, challenge| {
            Problem::request(StatusCode::UNAUTHORIZED, title.to_owned()).challenging(challenge)
        };
        let Some(given) = bearer(headers) else {
            return Err(
                refuse("a key is needed", CHALLENGE).detailed("send `Authorization: Bearer KEY`")
            );
        };
        let digest = Sha256::digest(given);
        let known = known.read().unwrap_or_else(PoisonError::into_inner);
        // All are compared, each in a time that tells nothing of where it differs.
        let mut found = None;
        for key in known.iter() {
            if bool::from(key.digest.ct_eq(&digest)) {
                found = Some(Arc::clone(key));
            }
        }
        match found {
            Some(key) => Ok(Caller(Some(key))),
            None => Err(refuse("the key is not known", CHALLENGE_WRONG)),
        }
    }
}

/// The key that a request brings.
fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let (value, None) = (values.next()?.as_bytes(), values.next()) else {
        return None;
    };
    let (scheme, key) = value.split_at_checked(b"Bearer ".len())?;
    let key = key.trim_ascii();
    (scheme.eq_ignore_ascii_case(b"Bearer ") && !key.is_empty()).then_some(key)
}

impl Followed {
    /// Reads the file again whenever it has changed, for ever. The last keys that could be used stay
    /// in force.
    pub(super) async fn follow(mut self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let path = self.path.clone();
            let looked = tokio::task::spawn_blocking(move || Stamp::of(&path)).await;
            let stamp = looked.ok().and_then(Result::ok);
            if stamp != self.seen {
                self.seen = stamp;
                self.read_again().await;
            }
        }
    }

    async fn read_again(&mut self) {
        let path = self.path.clone();
        match tokio::task::spawn_blocking(move || file::read(&path)).await {
            Ok(Ok((stamp, keys))) => {
                tracing::info!(path = %self.path.display(), keys = keys.len(), "keys file read again");
                self.seen = Some(stamp);
                if let Some(known) = &self.keys.known {
                    *known.write().unwrap_or_else(PoisonError::into_inner) = keys;
                }
            }
            Ok(Err(error)) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "keys file cannot be used, the keys before stay in force");
            }
            // The process ends.
            Err(_) => {}
        }
    }
}

/// Whoever asks; one without a key where everybody may.
#[derive(Clone, Debug)]
pub(super) struct Caller(Option<Arc<Key>>);

/// Lets a request pass whose key is known; its handler finds the [`Caller`] among the extensions.
pub(super) async fn authenticated(
    State(keys): State<Keys>,
    mut request: Request,
    next: Next,
) -> Response {
    match keys.caller(request.headers()) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    }
}

impl Caller {
    /// Whether it may submit a task of this kind to this queue.
    pub(super) fn may_submit(
        &self,
        queue: &QueueName,
        kind: Option<&TaskKind>,
    ) -> Result<(), Problem> {
        self.check(kind, |key| {
            (!key.queues.allow(queue.as_str())).then(|| format!("submit to queue `{queue}`"))
        })
    }

    /// Whether it may publish an event of this kind to this topic.
    pub(super) fn may_publish(
        &self,
        topic: &TopicName,
        kind: Option<&TaskKind>,
    ) -> Result<(), Problem> {
        self.check(kind, |key| {
            (!key.topics.allow(topic.as_str())).then(|| format!("publish to topic `{topic}`"))
        })
    }

    fn check(
        &self,
        kind: Option<&TaskKind>,
        forbidden: impl FnOnce(&Key) -> Option<String>,
    ) -> Result<(), Problem> {
        let Some(key) = &self.0 else {
            return Ok(());
        };
        let forbidden = forbidden(key).or_else(|| match (&key.kinds, kind) {
            (Some(kinds), Some(kind)) if !kinds.allow(kind.as_str()) => {
                Some(format!("submit tasks of kind `{kind}`"))
            }
            (Some(_), None) => Some("submit tasks without a kind".to_owned()),
            (Some(_) | None, _) => None,
        });
        match forbidden {
            None => Ok(()),
            Some(what) => {
                let title = format!("the key `{}` may not {what}", key.name);
                Err(Problem::request(StatusCode::FORBIDDEN, title))
            }
        }
    }

    /// Takes one of the key's turns, where they are counted.
    pub(super) fn take_turn(&self) -> Result<(), Problem> {
        let Some((key, pace)) = self.pace() else {
            return Ok(());
        };
        pace.take(Instant::now()).map_err(|wait| {
            let title = format!("the key `{}` has used up its rate", key.name);
            Problem::request(StatusCode::TOO_MANY_REQUESTS, title).retry_after(wait)
        })
    }

    /// Takes the key's next turn, and waits until it has come.
    pub(super) async fn wait_turn(&self) {
        if let Some((_, pace)) = self.pace() {
            tokio::time::sleep(pace.reserve(Instant::now())).await;
        }
    }

    fn pace(&self) -> Option<(&Key, &Pace)> {
        let key = self.0.as_deref()?;
        Some((key, key.pace.as_ref()?))
    }
}
