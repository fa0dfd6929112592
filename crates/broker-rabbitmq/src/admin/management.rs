//! The names of all queues, from the management API: AMQP tells only about queues that one names.

use crate::{delay, replies};
use pumasi_common::{
    ConnectionSettings, QueueKind, QueueName,
    broker::AdminError,
    connection::{AmqpAddress, password},
    error::Cause,
};
use serde::Deserialize;

/// One queue as the API tells it.
#[derive(Deserialize)]
struct Row {
    name: String,
    #[serde(rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    durable: bool,
    messages_unacknowledged: Option<u64>,
}

/// What is known of a queue besides what AMQP tells.
pub(crate) struct Listed {
    pub(crate) name: QueueName,
    pub(crate) kind: Option<QueueKind>,
    /// As of the last few seconds.
    pub(crate) in_flight: Option<u64>,
}

impl Listed {
    /// A queue of which only the name is known.
    pub(crate) fn unknown(name: QueueName) -> Self {
        Self {
            name,
            kind: None,
            in_flight: None,
        }
    }
}

/// Every queue of the virtual host, by name; those that only serve others, and those with names that
/// are none for us, are left out.
pub(crate) async fn queues(
    settings: &ConnectionSettings,
    address: &AmqpAddress,
    url: &str,
) -> Result<Vec<Listed>, AdminError> {
    let secret = match &settings.password_file {
        None => password(None, &address.password),
        Some(path) => {
            let text = tokio::fs::read_to_string(path).await;
            let text = text.map_err(|error| {
                let problem = format!("the password file {} cannot be read", path.display());
                failed(problem, Some(error.into()))
            })?;
            password(Some(&text), &address.password)
        }
    };
    // Only the first of a process counts; a later one is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut endpoint = reqwest::Url::parse(url).map_err(|error| {
        failed(
            "broker.management_url is no URL".to_owned(),
            Some(error.into()),
        )
    })?;
    if let Ok(mut path) = endpoint.path_segments_mut() {
        path.pop_if_empty()
            .extend(["api", "queues", &address.vhost]);
    }
    endpoint.set_query(Some("columns=name,type,durable,messages_unacknowledged"));
    let unreachable = |error: reqwest::Error| {
        let problem = "the management API did not answer".to_owned();
        failed(problem, Some(Box::new(error.without_url())))
    };
    let answer = reqwest::Client::builder()
        .timeout(settings.connect_timeout)
        .build()
        .map_err(unreachable)?
        .get(endpoint)
        .basic_auth(&address.user, Some(secret.expose()))
        .send()
        .await
        .map_err(unreachable)?;
    let status = answer.status();
    if status == reqwest::StatusCode::UNAUTHORIZED || status == reqwest::StatusCode::FORBIDDEN {
        let reply = format!(
            "the management API refused user `{}`: it needs the tag `monitoring` or `management`",
            address.user
        );
        return Err(AdminError::NotPermitted { reply });
    }
    if !status.is_success() {
        return Err(failed(
            format!("the management API answered {status}"),
            None,
        ));
    }
    let rows: Vec<Row> = answer.json().await.map_err(unreachable)?;
    let mut listed: Vec<Listed> = rows.iter().filter_map(listed).collect();
    listed.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(listed)
}

fn failed(problem: String, source: Option<Cause>) -> AdminError {
    AdminError::Failed { problem, source }
}

fn listed(row: &Row) -> Option<Listed> {
    let serves_others = [
        delay::PREFIX,
        replies::PREFIX,
        QueueName::control().as_str(),
    ]
    .iter()
    .any(|prefix| row.name.starts_with(prefix));
    if serves_others {
        return None;
    }
    let kind = match row.kind.as_deref() {
        Some("quorum") => Some(QueueKind::Quorum),
        Some("classic") if row.durable => Some(QueueKind::Classic),
        Some("classic") => Some(QueueKind::Transient),
        _ => None,
    };
    Some(Listed {
        name: QueueName::new(&row.name).ok()?,
        kind,
        in_flight: row.messages_unacknowledged,
    })
}
