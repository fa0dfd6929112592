//! Traces what goes through a broker.

use crate::trace;
use pumasi_common::{
    Broker, BrokerAdmin, Consumer, Diagnostic as _, Publication, PublishOutcome, QueueName,
    Topology,
    broker::{
        BoxFuture, BoxStream, Capabilities, ConsumeError, ConsumeOptions, Control, Health, Replies,
    },
    topology::{Plan, TopologyError},
};
use std::sync::Arc;
use tracing::{Instrument as _, Span};

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
        if trace::is_on() {
            Arc::new(Self::new(inner))
        } else {
            inner
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
        let span = trace::publish_span(&publication, self.system);
        match &publication.task.trace {
            // A task that was created elsewhere keeps that context.
            Some(creation) => trace::link(&span, creation),
            None => publication.task.trace = trace::context_of(&span),
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

    fn control(
        &self,
        queues: Vec<QueueName>,
    ) -> BoxFuture<'_, Result<BoxStream<Control>, ConsumeError>> {
        self.inner.control(queues)
    }

    fn replies(&self) -> BoxFuture<'_, Result<Replies, ConsumeError>> {
        self.inner.replies()
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
