//! Tasks over HTTP: the gateway as a process, and the same server with a handler that only answers.

use super::{file::pumasi, place::QUEUE};
use axum::{Router, body::Bytes, http::StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{Request, client::conn::http1};
use hyper_util::rt::TokioIo;
use pumasi_service::{
    http::{self, Limits},
    shutdown::Shutdown,
};
use pumasi_testkit::{
    bench::{Latency, Measured, Order, usage::Usage},
    process::Service,
};
use std::{
    net::SocketAddr,
    num::NonZeroU16,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// Connections that are kept, each with one request at a time.
const CONNECTIONS: usize = 64;

/// The gateway on the order's broker, as `pumasi gateway` starts it.
pub async fn submit(order: &Order) -> Measured {
    let mut command = pumasi(order);
    command
        .arg("gateway")
        .env("PUMASI__GATEWAY__LISTEN", "127.0.0.1:0")
        .env("PUMASI__HEALTH__LISTEN", "127.0.0.1:0")
        .env("NO_COLOR", "1");
    load(&Service::start(&mut command), "gateway listening", order).await
}

/// The same server without anything behind it.
pub async fn nothing(order: &Order) -> Measured {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["http-server", "-", "0", "0", "1"]);
    load(&Service::start(&mut command), "listening", order).await
}

/// Answers 202 to everything until it is ended.
pub async fn serve_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("listening address={}", listener.local_addr().unwrap());
    let routes = Router::new().fallback(async |_: Bytes| StatusCode::ACCEPTED);
    let limits = Limits {
        connections_max: NonZeroU16::MAX,
        head_timeout: Duration::from_secs(30),
        drain_timeout: Duration::ZERO,
    };
    http::serve(listener, routes, limits, Shutdown::default()).await;
}

/// Sends the order's tasks to the server; the cost is the server's.
async fn load(server: &Service, listening: &str, order: &Order) -> Measured {
    let address = server.address(listening);
    let left = Arc::new(AtomicUsize::new(order.count));
    let payload = bytes::Bytes::from(order.payload());
    let before = Usage::of(server.id()).expect("it runs");
    let begun = Instant::now();
    let mut clients = JoinSet::new();
    for _ in 0..CONNECTIONS {
        clients.spawn(converse(address, payload.clone(), Arc::clone(&left)));
    }
    let times = clients.join_all().await.concat();
    let seconds = begun.elapsed().as_secs_f64();
    let cost = Usage::of(server.id()).expect("it runs").since(before);
    Measured {
        latency: Latency::of(times),
        ..cost.measured(order.count, seconds)
    }
}

/// One connection: asks, and waits for the answer, while there is something left.
async fn converse(
    address: SocketAddr,
    payload: bytes::Bytes,
    left: Arc<AtomicUsize>,
) -> Vec<Duration> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let mut times = Vec::new();
    let take = |left: usize| left.checked_sub(1);
    while left
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
        .is_ok()
    {
        let request = Request::post(format!("/v1/queues/{QUEUE}/tasks"))
            .header("host", "bench")
            .header("content-type", "application/octet-stream")
            .body(Full::new(payload.clone()))
            .unwrap();
        let begun = Instant::now();
        let answer = sender.send_request(request).await.unwrap();
        assert_eq!(answer.status(), StatusCode::ACCEPTED);
        answer.into_body().collect().await.unwrap();
        times.push(begun.elapsed());
    }
    times
}
