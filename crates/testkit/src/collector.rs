//! A trace collector on loopback: takes what processes export over OTLP/HTTP and keeps it.

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{self as otlp, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message as _;
use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
};

/// A span as it was exported.
#[derive(Clone, Debug)]
pub struct Span {
    /// The service that it came from.
    pub service: String,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: SpanKind,
    /// Whether its status is an error.
    pub failed: bool,
    /// Its trace, in hexadecimal digits.
    pub trace: String,
    /// Itself, in hexadecimal digits.
    pub id: String,
    /// Its parent, empty for a root.
    pub parent: String,
    /// The spans it is linked to.
    pub links: Vec<String>,
    /// Its attributes as text.
    pub attributes: BTreeMap<String, String>,
}

impl Span {
    /// The W3C header that names this span as the parent.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace, self.id)
    }
}

type Shared = Arc<Mutex<Vec<Span>>>;

/// A running collector. Ends with the process.
#[derive(Debug)]
pub struct Collector {
    /// Where it listens: `http://127.0.0.1:4318`.
    pub endpoint: String,
    spans: Shared,
}

impl Collector {
    /// Starts one on a free port.
    ///
    /// # Panics
    /// When it cannot listen.
    #[must_use]
    pub fn start() -> Self {
        let spans = Shared::default();
        let router = Router::new()
            .route("/v1/traces", post(take))
            .with_state(Arc::clone(&spans));
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        listener.set_nonblocking(true).expect("a socket");
        let address = listener.local_addr().expect("an address");
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).expect("a socket");
                axum::serve(listener, router).await
            })
        });
        Self {
            endpoint: format!("http://{address}"),
            spans,
        }
    }

    /// Every span so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.spans
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The only span of this name.
    ///
    /// # Panics
    /// When there is none, or another one.
    #[must_use]
    pub fn only(&self, name: &str) -> Span {
        let mut named = self.spans();
        named.retain(|span| span.name == name);
        assert_eq!(named.len(), 1, "{name}: {:?}", self.spans());
        named.remove(0)
    }
}

async fn take(State(spans): State<Shared>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return StatusCode::BAD_REQUEST;
    };
    let mut kept = spans.lock().unwrap_or_else(PoisonError::into_inner);
    for resource in request.resource_spans {
        let about = attributes(
            resource
                .resource
                .map(|it| it.attributes)
                .unwrap_or_default(),
        );
        let service = about.get("service.name").cloned().unwrap_or_default();
        let exported = resource.scope_spans.into_iter().flat_map(|it| it.spans);
        kept.extend(exported.map(|span| read(service.clone(), span)));
    }
    StatusCode::OK
}

fn read(service: String, span: otlp::Span) -> Span {
    Span {
        service,
        kind: span.kind(),
        failed: span
            .status
            .is_some_and(|status| status.code() == SpanStatus::Error),
        trace: hex(&span.trace_id),
        id: hex(&span.span_id),
        parent: hex(&span.parent_span_id),
        links: span.links.iter().map(|link| hex(&link.span_id)).collect(),
        attributes: attributes(span.attributes),
        name: span.name,
    }
}

fn attributes(list: Vec<KeyValue>) -> BTreeMap<String, String> {
    list.into_iter()
        .map(|pair| (pair.key, pair.value.map(text).unwrap_or_default()))
        .collect()
}

fn text(value: AnyValue) -> String {
    match value.value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[doc(no_inline)]
pub use opentelemetry_proto::tonic::trace::v1::span::SpanKind as Kind;
