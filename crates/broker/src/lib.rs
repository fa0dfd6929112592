//! Opens the broker that the settings name and, where traces are exported, wraps it in them.
//!
//! The only place that knows all brokers: a third one gets its line in [`open`].

mod instrumented;

pub use instrumented::Instrumented;

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
    let broker: Result<Arc<dyn Broker>, OpenError> = match address {
        BrokerAddress::Amqp(_) | BrokerAddress::Sqlite(_) => Err(OpenError {
            address: address.to_string(),
            problem: "this kind of broker is not built in".to_owned(),
            code: pumasi_common::ErrorCode::Unsupported,
            help: None,
            source: None,
        }),
    };
    broker.map(Instrumented::where_traced)
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
    use pumasi_common::ErrorCode;

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
    async fn without_an_address_the_key_is_named() {
        let error = open(&ConnectionSettings::default()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot open the broker at `broker.url`: none is given"
        );
    }
}
