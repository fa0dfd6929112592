//! HTTP handlers: the payload is sent to a service with POST.
//!
//! Contract: the body of the request is the payload, with its `Content-Type`. Id, kind, queue and
//! attempt are headers as the HTTP binding of CloudEvents has them in binary mode (`ce-*`), the
//! trace goes on in `traceparent`. 2xx: done, the body is the result; 4xx: rejected, but for 408,
//! 425 and 429; anything else, and no answer: failed (`answer`). The whole exchange ends when the
//! task's time is up. The URL comes from the worker's configuration, never from a message;
//! redirects are not followed, and the proxies that the environment names are not used. Each address
//! is looked at when it is about to be connected to (`resolve`).

mod answer;
mod metadata;
mod resolve;

use super::{Context, Handler, HandlerError, HandlerResult};
use crate::{config::HttpConfig, error::WorkerError};
use pumasi_common::{broker::BoxFuture, outcome::Output};
use reqwest::{Certificate, Client, Url, redirect::Policy};
use resolve::Resolver;
use std::{error::Error, path::Path};

/// Most causes that are looked through, against chains that do not end.
const CAUSES_MAX: usize = 16;

/// Sends each task to a service.
#[derive(Debug)]
pub struct Http {
    client: Client,
    url: Url,
}

impl Http {
    /// A handler that sends tasks to the configured service. Nothing is connected to yet.
    ///
    /// # Errors
    /// When the configuration contradicts itself, or the certificates cannot be read.
    pub fn new(config: &HttpConfig) -> Result<Self, WorkerError> {
        let (url, networks) = config.target().map_err(|expected| WorkerError::Config {
            key: "worker.handlers",
            value: pumasi_service::config::redact(&config.url),
            expected,
        })?;
        let refuse = |problem: String| {
            // A query may hold a key.
            let mut url = url.clone();
            url.set_query(None);
            let url = url.to_string();
            WorkerError::Service { url, problem }
        };
        // Only the first of a process counts; a later one is the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder()
            .user_agent(concat!("pumasi-worker/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .no_proxy()
            .redirect(Policy::none())
            .referer(false)
            // A lost task is tried again by policy, which knows how often.
            .retry(reqwest::retry::never())
            .dns_resolver(Resolver::new(networks))
            .connect_timeout(config.connect_timeout)
            .pool_idle_timeout(config.idle_timeout);
        let builder = match (url.scheme(), &config.ca_file) {
            ("https", None) => builder,
            ("https", Some(path)) => builder.tls_certs_merge(certificates(path).map_err(refuse)?),
            // Images without certificate authorities can send to http all the same.
            _ => builder.tls_certs_only([]),
        };
        let client = builder.build().map_err(|error| refuse(reason(&error)))?;
        Ok(Self { client, url })
    }

    async fn exchange(&self, context: &Context) -> HandlerResult<Output> {
        let request = self
            .client
            .post(self.url.clone())
            .headers(metadata::headers(context))
            .body(context.task.payload.clone());
        match request.send().await {
            Ok(answer) => answer::read(answer).await,
            Err(error) => Err(HandlerError::fail(format!(
                "the service gave no answer: {}",
                reason(&error)
            ))),
        }
    }
}

impl Handler for Http {
    fn handle(&self, context: Context) -> BoxFuture<'_, HandlerResult<Output>> {
        Box::pin(async move {
            tokio::select! {
                result = self.exchange(&context) => result,
                // A service cannot be told to stop: its connection is closed.
                () = context.cancellation.cancelled() => {
                    Err(HandlerError::fail("ended before the service answered"))
                }
            }
        })
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, String> {
    let shown = path.display();
    let text = std::fs::read(path)
        .map_err(|error| format!("`ca_file` {shown} cannot be read: {error}"))?;
    match Certificate::from_pem_bundle(&text) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) | Err(_) => Err(format!("`ca_file` {shown} holds no certificate in PEM")),
    }
}

/// What lies behind an error: the words of the system, of TLS or of the resolver, without the URL.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    for _ in 0..CAUSES_MAX {
        let Some(next) = cause.source() else { break };
        cause = next;
    }
    if error.is_timeout() {
        return "it took too long to connect".to_owned();
    }
    cause.to_string()
}
