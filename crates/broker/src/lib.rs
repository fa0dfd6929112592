//! Opens the broker that the settings name and, where traces are exported, wraps it in them.
//!
//! The only place that knows all brokers: a third one gets its line in [`open`].

mod instrumented;
pub mod trace;

pub use instrumented::Instrumented;

use pumasi_broker_rabbitmq::RabbitMqBroker;
use pumasi_broker_sqlite::SqliteBroker;
use pumasi_common::{
    Broker, ConnectionSettings, Diagnostic as _,
    broker::OpenError,
    connection::{BrokerAddress, UrlError},
};
use std::sync::Arc;

/// Opens the broker at the address in the settings.
///
/// Where traces are exported, publishes are traced ([`Instrumented`]); so telemetry is to be
/// started first.
///
/// # Errors
/// [`OpenError`] names the address without its password, and what to do.
///
/// # Cancel safety
/// Cancel safe: a dropped future leaves no broker open.
pub async fn open(settings: &ConnectionSettings) -> Result<Arc<dyn Broker>, OpenError> {
    let address = settings
        .address()
        .map_err(|error| misread(settings, &error))?;
    let broker: Arc<dyn Broker> = match address {
        BrokerAddress::Amqp(amqp) => RabbitMqBroker::open(settings, &amqp).await?,
        BrokerAddress::Sqlite(path) => SqliteBroker::open(settings, &path).await?,
    };
    Ok(Instrumented::where_traced(broker))
}

fn misread(settings: &ConnectionSettings, error: &UrlError) -> OpenError {
    OpenError {
        address: settings
            .url
            .as_deref()
            .map_or_else(|| "`broker.url`".to_owned(), without_login),
        problem: error.problem.clone(),
        code: error.code(),
        help: error.help(),
        source: None,
    }
}

/// The URL without user and password, also where it is malformed.
fn without_login(url: &str) -> String {
    match (url.rsplit_once('@'), url.split_once(':')) {
        (None, _) => url.to_owned(),
        (Some((_, rest)), Some((scheme, after))) if after.starts_with("//") => {
            format!("{scheme}://{rest}")
        }
        (Some((_, rest)), _) => rest.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pumasi_common::{ErrorCode, telemetry::SYSTEM_SQLITE};
    use std::{net::TcpListener, time::Duration};

    #[tokio::test]
    async fn an_address_that_cannot_be_read_is_explained_without_its_password() {
        for (url, expected) in [
            (
                "amqp://u:hunter2@h:port/",
                "amqp://h:port/: the port of host `h`",
            ),
            ("http://u:hunter2@h", "http://h: unknown scheme"),
            ("hunter2@h", "h: it has no scheme"),
        ] {
            let error = open(&ConnectionSettings::of_url(url)).await.unwrap_err();
            let text = error.to_string();
            assert!(
                text.contains(expected) && !text.contains("hunter2"),
                "{text}"
            );
            assert_eq!(error.code(), ErrorCode::ConfigInvalid);
            assert!(error.help().is_some());
        }
    }

    #[tokio::test]
    async fn each_scheme_leads_to_its_broker() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("queue.db");
        let url = format!("sqlite:{}", file.display());
        let broker = open(&ConnectionSettings::of_url(&url)).await.unwrap();
        assert_eq!(broker.capabilities().system, SYSTEM_SQLITE);
        broker.close().await;

        let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
        let url = format!("amqp://u:hunter2@{}", nobody.unwrap());
        let mut settings = ConnectionSettings::of_url(&url);
        settings.connect_timeout = Duration::from_secs(1);
        let error = open(&settings).await.unwrap_err();
        assert_eq!(error.code(), ErrorCode::BrokerUnreachable);
        assert!(
            !format!("{error} {error:?}").contains("hunter2"),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn without_an_address_the_key_is_named() {
        let error = open(&ConnectionSettings::default()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot open the broker at `broker.url`: none is given"
        );
    }
}
