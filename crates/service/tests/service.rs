//! Telemetry and signals with real sockets and signals.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "helpers outside of test functions"
)]

use pumasi_service::{
    shutdown,
    telemetry::{self, TelemetryConfig},
};
use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

const LIMIT: Duration = Duration::from_secs(60);

/// Answers every request with 200 and passes on what it was sent.
fn collector() -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (seen, requests) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream
                .set_read_timeout(Some(Duration::from_millis(300)))
                .unwrap();
            let mut request = Vec::new();
            let mut part = [0; 4096];
            while let Ok(bytes) = stream.read(&mut part) {
                if bytes == 0 {
                    break;
                }
                request.extend_from_slice(&part[..bytes]);
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
            if seen.send(request).is_err() {
                return;
            }
        }
    });
    (endpoint, requests)
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_exported_at_shutdown_whatever_the_log_level_is() {
    let (endpoint, requests) = collector();
    let config = TelemetryConfig {
        log_level: "warn".to_owned(),
        otlp_endpoint: Some(endpoint),
        ..TelemetryConfig::default()
    };
    let telemetry = telemetry::start(&config, "pumasi-test").unwrap();
    assert!(telemetry.exports_traces());
    assert!(telemetry::start(&config, "pumasi-test").is_err());
    tracing::info_span!("publish", otel.name = "publish email").in_scope(|| {});
    tokio::task::spawn_blocking(|| telemetry.shutdown())
        .await
        .unwrap();
    let request = requests.recv_timeout(LIMIT).unwrap();
    let text = String::from_utf8_lossy(&request);
    assert!(text.starts_with("POST /v1/traces HTTP/1.1"), "{text}");
    assert!(text.contains("publish email") && text.contains("pumasi-test"));
}

#[tokio::test]
async fn the_first_signal_stops_the_intake_and_the_second_aborts() {
    let stop = shutdown::on_signals();
    signal("TERM");
    tokio::time::timeout(LIMIT, stop.intake.cancelled())
        .await
        .unwrap();
    assert!(!stop.abort.is_cancelled());
    signal("INT");
    tokio::time::timeout(LIMIT, stop.abort.cancelled())
        .await
        .unwrap();
}

fn signal(name: &str) {
    let sent = Command::new("kill")
        .args(["-s", name, &std::process::id().to_string()])
        .status()
        .unwrap();
    assert!(sent.success());
}
