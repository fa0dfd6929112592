//! The wrapper against brokers that are made up for it.

use super::*;
use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    propagation::TraceContextPropagator,
    trace::{SdkTracerProvider, SpanData, SpanExporter},
};
use pumasi_common::{
    Destination, Refusal, Task,
    broker::{AckTimeout, Priorities},
    queue::QueueKind,
    task::TraceContext,
    telemetry::SYSTEM_SQLITE,
};
use std::sync::Mutex;
use std::time::Duration;
use tracing_subscriber::layer::SubscriberExt as _;

/// Keeps what is published and refuses everything.
#[derive(Debug, Default)]
struct Full(Mutex<Vec<Task>>);

impl Broker for Full {
    fn publish(&self, publication: Publication) -> BoxFuture<'_, PublishOutcome> {
        let id = publication.task.id.clone();
        self.0.lock().unwrap().push(publication.task);
        let destination = publication.destination;
        Box::pin(async { PublishOutcome::Refused(id, Refusal::Full { destination }) })
    }
    fn consume(&self, _: ConsumeOptions) -> BoxFuture<'_, Result<Box<dyn Consumer>, ConsumeError>> {
        unreachable!()
    }
    fn control(
        &self,
        _: Vec<QueueName>,
    ) -> BoxFuture<'_, Result<BoxStream<Control>, ConsumeError>> {
        unreachable!()
    }
    fn replies(&self) -> BoxFuture<'_, Result<Replies, ConsumeError>> {
        unreachable!()
    }
    fn ensure_topology<'a>(
        &'a self,
        _: &'a Topology,
    ) -> BoxFuture<'a, Result<Plan, TopologyError>> {
        unreachable!()
    }
    fn plan_topology<'a>(&'a self, _: &'a Topology) -> BoxFuture<'a, Result<Plan, TopologyError>> {
        unreachable!()
    }
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            system: SYSTEM_SQLITE,
            product: "a test".to_owned(),
            queue_kinds: vec![QueueKind::Quorum],
            lists_queues: false,
            payload_bytes_max: 1,
            delay_resolution: Duration::from_millis(1),
            delay_max: Duration::MAX,
            priorities: Priorities::None,
            knows_duplicates: false,
            ack_timeout: AckTimeout::Unlimited,
        }
    }
    fn health(&self) -> Health {
        Health::Up
    }
    fn admin(&self) -> &dyn BrokerAdmin {
        unreachable!()
    }
    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }
}

#[derive(Clone, Debug, Default)]
struct Exported(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Exported {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().unwrap().extend(batch);
        Ok(())
    }
}

fn publication(task: Task) -> Publication {
    Publication::new(Destination::Queue(QueueName::new("email").unwrap()), task)
}

#[tokio::test]
async fn a_publish_is_a_producer_span_whose_context_travels_with_the_task() {
    let broker = Arc::new(Full::default());
    let bare: Arc<dyn Broker> = broker.clone();
    assert!(Arc::ptr_eq(
        &bare,
        &Instrumented::where_traced(bare.clone())
    ));

    global::set_text_map_propagator(TraceContextPropagator::new());
    let exported = Exported::default();
    let provider = SdkTracerProvider::builder()
        .with_simple_exporter(exported.clone())
        .build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let subscriber = tracing_subscriber::registry().with(layer);
    let _guard = tracing::subscriber::set_default(subscriber);

    let traced = Instrumented::where_traced(bare);
    let outcome = traced.publish(publication(Task::new("x"))).await;
    assert!(matches!(outcome, PublishOutcome::Refused(..)));
    let mut creation = Task::new("y");
    let earlier = TraceContext {
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned(),
        tracestate: None,
    };
    creation.trace = Some(earlier.clone());
    traced.publish(publication(creation)).await;

    let tasks = broker.0.lock().unwrap();
    let spans = exported.0.lock().unwrap();
    let span = &spans[0];
    assert_eq!(span.name, "publish email");
    assert_eq!(span.span_kind, opentelemetry::trace::SpanKind::Producer);
    assert!(matches!(
        span.status,
        opentelemetry::trace::Status::Error { .. }
    ));
    let attribute = |key: &str| {
        let found = span.attributes.iter().find(|it| it.key.as_str() == key);
        found.map(|it| it.value.to_string())
    };
    assert_eq!(attribute("messaging.destination.name").unwrap(), "email");
    assert_eq!(attribute("messaging.operation.type").unwrap(), "send");
    assert_eq!(attribute("error.type").unwrap(), "PU4004");
    let context = &span.span_context;
    assert_eq!(
        tasks[0].trace.as_ref().unwrap().traceparent,
        format!("00-{}-{}-01", context.trace_id(), context.span_id())
    );
    assert_eq!(tasks[1].trace, Some(earlier), "the first context stays");
    let linked = spans[1].links.iter().next().unwrap();
    assert_eq!(
        linked.span_context.span_id().to_string(),
        "b7ad6b7169203331"
    );
}
