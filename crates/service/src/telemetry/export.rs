//! The exporter of spans, which says once when they do not arrive.

use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter as Exporter},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// Whether exports fail now. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Failing(Arc<AtomicBool>);

impl Failing {
    /// Notes a failure; true for the first one since the last success.
    pub(super) fn is_first(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }

    /// Notes a success; true for the first one since the last failure.
    fn is_over(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// Exports spans. The library under it says nothing when a collector is away.
#[derive(Debug)]
pub(super) struct Reporting {
    pub(super) inner: SpanExporter,
    pub(super) failing: Failing,
}

impl Exporter for Reporting {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let result = self.inner.export(batch).await;
        match &result {
            Err(error) if self.failing.is_first() => {
                tracing::warn!(%error, "traces cannot be exported");
            }
            Ok(()) if self.failing.is_over() => tracing::info!("traces are exported again"),
            Ok(()) | Err(_) => {}
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}
