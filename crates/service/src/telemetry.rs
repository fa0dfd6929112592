//! Starts logs on standard error and, where an endpoint is given, traces over OTLP.

mod export;

use export::{Failing, Reporting};
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::{Resource, propagation::TraceContextPropagator, trace::SdkTracerProvider};
use pumasi_common::{Diagnostic, ErrorCode, Retryability, error::Cause, task::TraceContext};
use serde::{Deserialize, Serialize};
use std::{env, fmt, io, io::IsTerminal as _};
use tracing::{Level, Metadata};
use tracing_subscriber::{
    EnvFilter, Layer, Registry, filter::filter_fn, layer::SubscriberExt as _,
    util::SubscriberInitExt as _,
};

/// Whose own spans must not be exported: the exporter would export its own requests.
const NOT_EXPORTED: [&str; 5] = ["opentelemetry", "hyper", "reqwest", "h2", "rustls"];

/// Whose log lines are left out unless the level names it: the broker crate says itself, in words
/// for an operator, what its client library calls an error (asking for a queue that is not there).
const NOT_LOGGED: &str = "lapin";

/// What a process tells about itself: the `[telemetry]` section of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// How log lines look: `text` for people, `json` for machines. Default `text`.
    pub log_format: LogFormat,
    /// What is logged: `error`, `warn`, `info`, `debug`, or per module as
    /// `info,pumasi_worker=debug`. Default `info`.
    pub log_level: String,
    /// Where traces go, OTLP over HTTP: `http://collector:4318`. Default: that of
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, else no traces.
    pub otlp_endpoint: Option<String>,
    /// The service's name in traces. Default: that of `OTEL_SERVICE_NAME`, else the program's.
    pub service_name: Option<String>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Text,
            log_level: "info".to_owned(),
            otlp_endpoint: None,
            service_name: None,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One line of text per event.
    #[default]
    Text,
    /// One JSON object per event.
    Json,
}

/// Why telemetry cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log level is malformed.
    #[error("invalid telemetry.log_level `{value}`")]
    Level {
        /// The refused text.
        value: String,
        /// What is wrong with it.
        source: Cause,
    },
    /// The exporter cannot be built.
    #[error("cannot export traces to telemetry.otlp_endpoint")]
    Exporter {
        /// Why not.
        source: Cause,
    },
    /// The process has a subscriber already.
    #[error("telemetry was started twice")]
    Started,
}

impl Diagnostic for TelemetryError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Level { .. } | Self::Exporter { .. } => ErrorCode::ConfigInvalid,
            Self::Started => ErrorCode::Internal,
        }
    }
    fn retryability(&self) -> Retryability {
        Retryability::Permanent
    }
    fn help(&self) -> Option<String> {
        match self {
            Self::Level { .. } => Some(
                "give error, warn, info or debug, or per module: `info,pumasi_worker=debug`"
                    .to_owned(),
            ),
            Self::Exporter { .. } => {
                Some("give the collector's address, like `http://collector:4318`".to_owned())
            }
            Self::Started => None,
        }
    }
}

/// Running telemetry. Keep it until the end and call [`Telemetry::shutdown`].
#[must_use = "spans still in memory are lost without `shutdown`"]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
    failing: Failing,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("exports_traces", &self.exports_traces())
            .finish()
    }
}

impl Telemetry {
    /// Whether traces leave the process.
    #[must_use]
    pub fn exports_traces(&self) -> bool {
        self.provider.is_some()
    }

    /// Sends what is left, for at most five seconds.
    ///
    /// Blocks: inside a runtime call it through `spawn_blocking`.
    pub fn shutdown(self) {
        if let Some(provider) = self.provider
            && let Err(error) = provider.shutdown()
            && self.failing.is_first()
        {
            tracing::warn!(%error, "the last traces may be lost");
        }
    }
}

/// Starts telemetry for the process. Call it once, first of all.
///
/// Logs go to standard error. Without an endpoint no exporter exists and spans cost next to
/// nothing.
///
/// # Errors
/// [`TelemetryError`] when the level or the endpoint is malformed, or at a second call.
pub fn start(config: &TelemetryConfig, default_name: &str) -> Result<Telemetry, TelemetryError> {
    // Needed by every TLS client of the process; another caller may have been first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let filter = filter(&config.log_level)?;
    let failing = Failing::default();
    let provider = provider(config, default_name, failing.clone())?;
    let traces = provider.as_ref().map(|provider| {
        tracing_opentelemetry::layer::<Registry>()
            .with_tracer(provider.tracer("pumasi"))
            .with_filter(filter_fn(exported))
    });
    tracing_subscriber::registry()
        .with(traces)
        .with(logs(config.log_format).with_filter(filter))
        .try_init()
        .map_err(|_| TelemetryError::Started)?;
    if let Some(provider) = &provider {
        opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
        opentelemetry::global::set_tracer_provider(provider.clone());
    }
    Ok(Telemetry { provider, failing })
}

fn filter(level: &str) -> Result<EnvFilter, TelemetryError> {
    let directives = if level.contains(NOT_LOGGED) {
        level.to_owned()
    } else {
        format!("{level},{NOT_LOGGED}=off")
    };
    EnvFilter::builder()
        .parse(directives)
        .map_err(|source| TelemetryError::Level {
            value: level.to_owned(),
            source: source.into(),
        })
}

/// Whether a span or event goes into traces, whatever the log level is.
fn exported(meta: &Metadata<'_>) -> bool {
    *meta.level() <= Level::INFO && !is_exporters(meta.target())
}

fn is_exporters(target: &str) -> bool {
    NOT_EXPORTED.iter().any(|name| target.starts_with(name))
}

fn logs<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> tracing_subscriber::registry::LookupSpan<'a>,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    match format {
        LogFormat::Text => layer.with_ansi(io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).boxed(),
    }
}

fn provider(
    config: &TelemetryConfig,
    default_name: &str,
    failing: Failing,
) -> Result<Option<SdkTracerProvider>, TelemetryError> {
    let from_environment = is_set("OTEL_EXPORTER_OTLP_ENDPOINT");
    if config.otlp_endpoint.is_none() && !from_environment {
        return Ok(None);
    }
    let mut builder = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary);
    if let Some(endpoint) = &config.otlp_endpoint {
        builder = builder.with_endpoint(traces_url(endpoint));
    }
    let inner = builder.build().map_err(|source| TelemetryError::Exporter {
        source: source.into(),
    })?;
    let mut resource = Resource::builder();
    match &config.service_name {
        Some(name) => resource = resource.with_service_name(name.clone()),
        None if is_set("OTEL_SERVICE_NAME") => {}
        None => resource = resource.with_service_name(default_name.to_owned()),
    }
    let provider = SdkTracerProvider::builder()
        .with_batch_exporter(Reporting { inner, failing })
        .with_resource(resource.build())
        .build();
    Ok(Some(provider))
}

/// The W3C context that the process was started in: `TRACEPARENT` and `TRACESTATE`, as a handler's
/// program gets them.
#[must_use]
pub fn caller() -> Option<TraceContext> {
    let state = env::var("TRACESTATE").ok();
    TraceContext::parse(env::var("TRACEPARENT").ok()?, state)
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// The collector's address with the path that OTLP defines for traces.
fn traces_url(endpoint: &str) -> String {
    let base = endpoint.trim_end_matches('/');
    if base.ends_with("/v1/traces") {
        base.to_owned()
    } else {
        format!("{base}/v1/traces")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_traces_path_is_added_once() {
        for endpoint in ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"] {
            assert_eq!(traces_url(endpoint), "http://c:4318/v1/traces");
        }
    }

    #[test]
    fn a_malformed_level_is_named() {
        let error = filter("pumasi=loud").unwrap_err();
        assert_eq!(error.code(), ErrorCode::ConfigInvalid);
        assert!(error.to_string().contains("pumasi=loud"));
        assert!(filter("info,pumasi_worker=debug").is_ok());
    }

    #[test]
    fn the_client_librarys_lines_are_left_out_unless_they_are_asked_for() {
        assert!(filter("info").unwrap().to_string().contains("lapin=off"));
        let asked = filter("info,lapin=debug").unwrap().to_string();
        assert!(!asked.contains("lapin=off"), "{asked}");
    }

    #[test]
    fn the_exporter_does_not_export_its_own_requests() {
        assert!(!is_exporters("pumasi_worker::execute"));
        assert!(is_exporters("hyper_util::client"));
    }
}
