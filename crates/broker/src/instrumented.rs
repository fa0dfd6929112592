//! Traces what goes through a broker.

use opentelemetry::{global, propagation::Injector};
use pumasi_common::{
    Broker, BrokerAdmin, Consumer, Destination, Diagnostic as _, Publication, PublishOutcome,
    Topology,
    broker::{BoxFuture, Capabilities, ConsumeError, ConsumeOptions, Health},
    task::TraceContext,
    telemetry::{TRACEPARENT, TRACESTATE},
    topology::{Plan, TopologyError},
};
use std::sync::Arc;
use tracing::{Instrument as _, Span, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// A broker whose publishes are spans `publish {destination}` and whose tasks carry the context
/// of their creation.
#[derive(Debug)]
pub struct Instrumented {
    inner: Arc<dyn Broker>,
    system: &'static str,
}

impl Instrumented {
    /// Wraps the broker.
    #[must_use]
    pub fn new(inner: Arc<dyn Broker>) -> Self {
        let system = inner.capabilities().system;
        Self { inner, system }
    }

    /// Wraps the broker where the process propagates traces; gives it back as it is elsewhere, so
    /// that nothing is paid for telemetry that is off.
    #[must_use]
    pub fn where_traced(inner: Arc<dyn Broker>) -> Arc<dyn Broker> {
        // The propagator that stands in when none was set writes no fields.
        let traced = global::get_text_map_propagator(|it| it.fields().next().is_some());
        if traced {
            Arc::new(Self::new(inner))
        } else {
            inner
        }
    }

    fn publish_span(&self, publication: &Publication) -> Span {
        let destination = match &publication.destination {
            Destination::Queue(name) => name.as_str(),
            Destination::Topic(name) => name.as_str(),
        };
        info_span!(
            "publish",
            otel.name = format!("publish {destination}"),
            otel.kind = "producer",
            otel.status_code = Empty,
            error.r#type = Empty,
            messaging.system = self.system,
            messaging.operation.name = "publish",
            messaging.operation.r#type = "send",
            messaging.destination.name = destination,
            messaging.message.id = %publication.task.id,
            messaging.message.body.size = publication.task.payload.len(),
        )
    }
}

/// The context of the span as its headers; `None` where the span is not traced.
fn context_of(span: &Span) -> Option<TraceContext> {
    let mut headers = Headers::default();
    global::get_text_map_propagator(|it| it.inject_context(&span.context(), &mut headers));
    Some(TraceContext {
        traceparent: headers.traceparent?,
        tracestate: headers.tracestate.filter(|state| !state.is_empty()),
    })
}

/// What the propagator writes: only the two headers that tasks carry are kept.
#[derive(Default)]
struct Headers {
    traceparent: Option<String>,
    tracestate: Option<String>,
}

impl Injector for Headers {
    fn set(&mut self, key: &str, value: String) {
        match key {
            TRACEPARENT => self.traceparent = Some(value),
            TRACESTATE => self.tracestate = Some(value),
            _ => {}
        }
    }
}

fn record(span: &Span, outcome: &PublishOutcome) {
    let code = match outcome {
        PublishOutcome::Accepted(_) => return,
        PublishOutcome::Refused(_, refusal) => refusal.code(),
        PublishOutcome::Unknown(_, uncertainty) => uncertainty.code(),
    };
    span.record("otel.status_code", "ERROR");
    span.record("error.type", tracing::field::display(code));
}

impl Broker for Instrumented {
    fn publish(&self, mut publication: Publication) -> BoxFuture<'_, PublishOutcome> {
        let span = self.publish_span(&publication);
        if publication.task.trace.is_none() {
            publication.task.trace = context_of(&span);
        }
        let published = self.inner.publish(publication);
        let seen = span.clone();
        let recorded = async move {
            let outcome = published.await;
            record(&seen, &outcome);
            outcome
        };
        Box::pin(recorded.instrument(span))
    }

    fn consume(
        &self,
        options: ConsumeOptions,
    ) -> BoxFuture<'_, Result<Box<dyn Consumer>, ConsumeError>> {
        self.inner.consume(options)
    }

    fn ensure_topology<'a>(
        &'a self,
        topology: &'a Topology,
    ) -> BoxFuture<'a, Result<Plan, TopologyError>> {
        self.inner.ensure_topology(topology)
    }

    fn plan_topology<'a>(
        &'a self,
        topology: &'a Topology,
    ) -> BoxFuture<'a, Result<Plan, TopologyError>> {
        self.inner.plan_topology(topology)
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn admin(&self) -> &dyn BrokerAdmin {
        self.inner.admin()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        self.inner.close()
    }
}

#[cfg(test)]
mod tests;
