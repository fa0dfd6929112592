//! What a service may answer, and what becomes of its task.

use crate::{
    bench::{Bench, LIMIT, name, start, until},
    site::{Site, answer},
    support::{Place, probes},
};
use axum::body::Body;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use pumasi_common::{
    DeadReason, Destination, Publication, Task,
    broker::ConsumeOptions,
    outcome::{Outcome, RESULT_BYTES_MAX},
    task::TraceContext,
};
use pumasi_testkit::{
    collector::Collector,
    process::{self, Service},
};
use pumasi_worker::{HttpConfig, WorkerBuilder, WorkerConfig, WorkerError, handler::http::Http};
use std::{
    io::{Read as _, Write as _},
    num::{NonZeroU16, NonZeroU32},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

/// A bench with a queue for what is told of its tasks.
pub(crate) async fn bench() -> Bench {
    let bench = Bench::new().await;
    bench.declare("answers").await;
    bench
}

/// A worker whose tasks without a kind are sent to this URL.
pub(crate) fn sending(
    bench: &Bench,
    config: &HttpConfig,
    change: impl FnOnce(&mut WorkerConfig),
) -> WorkerBuilder {
    let http = Http::new(config).unwrap();
    bench.worker(change).handler(None, Arc::new(http))
}

pub(crate) fn to(url: impl Into<String>) -> HttpConfig {
    HttpConfig {
        url: url.into(),
        ..HttpConfig::default()
    }
}

fn asking(payload: &str) -> Task {
    let mut task = Task::new(payload.to_owned());
    task.reply_to = Some("answers".to_owned());
    task
}

pub(crate) async fn submit(bench: &Bench, task: Task) {
    let publication = Publication::new(Destination::Queue(name("work")), task);
    bench.broker.publish(publication).await;
}

/// The next thing that is told of a task besides its start.
pub(crate) async fn told(bench: &Bench) -> Outcome {
    let options = ConsumeOptions {
        queue: name("answers"),
        prefetch: NonZeroU16::MIN,
        consumer: "test".to_owned(),
        ack_timeout: None,
    };
    let mut consumer = bench.broker.consume(options).await.unwrap();
    loop {
        let answer = tokio::time::timeout(LIMIT, consumer.next()).await;
        let answer = answer.expect("an answer in time").unwrap();
        let (_, outcome) = Outcome::read(answer.task()).unwrap();
        answer
            .settle_and_flush(pumasi_common::Settlement::Ack)
            .await
            .unwrap();
        if outcome != Outcome::Started {
            consumer.close().await;
            return outcome;
        }
    }
}

/// Sends one task there and gives what is told of it.
async fn sent(config: &HttpConfig, change: impl FnOnce(&mut WorkerConfig)) -> Outcome {
    let bench = bench().await;
    let running = start(sending(&bench, config, change));
    submit(&bench, asking("x")).await;
    let outcome = told(&bench).await;
    running.stop().await;
    outcome
}

/// The reason and the text of a dead letter.
pub(crate) fn dead(outcome: Outcome) -> (DeadReason, String) {
    if let Outcome::Dead {
        reason: Some(reason),
        error,
    } = outcome
    {
        (reason, error)
    } else {
        panic!("not dead: {outcome:?}")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_gets_the_payload_with_what_is_known_of_the_task_and_its_answer_is_the_result() {
    let site =
        Site::start(async |_| answer(200, &[("content-type", "image/png")], "the result")).await;
    let bench = bench().await;
    let running = start(sending(&bench, &to(site.url("/resize?size=1")), |_| {}));
    let mut task = asking("hello");
    task.id = "größe \"1%".replace(' ', "_").parse().unwrap();
    task.content_type = Some("text/csv".to_owned());
    task.submitted_at = Some(1_700_000_000);
    let traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let trace = TraceContext::parse(traceparent.to_owned(), Some("a=1".to_owned()));
    task.trace = trace;
    submit(&bench, task).await;
    let outcome = told(&bench).await;
    running.stop().await;
    if let Outcome::Done(output) = outcome {
        assert_eq!(output.payload, "the result");
        assert_eq!(output.content_type.as_deref(), Some("image/png"));
    } else {
        panic!("not done: {outcome:?}");
    }
    let seen = site.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].line, "POST /resize?size=1");
    assert_eq!(seen[0].body, "hello");
    for (header, expected) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "gr%C3%B6%C3%9Fe_%221%25"),
        ("ce-type", "pumasi.task"),
        ("ce-source", "/queues/work"),
        ("ce-queue", "work"),
        ("ce-attempt", "1"),
        ("ce-time", "2023-11-14T22:13:20Z"),
        ("content-type", "text/csv"),
        ("content-length", "5"),
        ("traceparent", traceparent),
        ("tracestate", "a=1"),
    ] {
        assert_eq!(seen[0].header(header), Some(expected), "{header}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_class_of_answer_is_done_rejected_or_failed() {
    let site = Site::start(async |path: String| {
        let status = path.trim_start_matches('/').parse().unwrap();
        answer(status, &[], format!("said {status}"))
    })
    .await;
    let bench = bench().await;
    let mut worker = bench.worker(|_| {});
    let statuses = [204, 302, 400, 404, 408, 422, 425, 429, 500, 503];
    for status in statuses {
        let http = Http::new(&to(site.url(&format!("/{status}")))).unwrap();
        let kind = format!("s{status}").parse().unwrap();
        worker = worker.handler(Some(kind), Arc::new(http));
        bench
            .submit("work", &format!("s{status}"), &status.to_string())
            .await;
    }
    let running = start(worker);
    let mut dead = bench.dead(statuses.len() - 1).await;
    until("the task's end", async || bench.left("work").await == 0).await;
    running.stop().await;
    assert_eq!(bench.ready("work.dead").await, 0);
    dead.sort();
    let (spent, rejected) = ("attempts-spent", "rejected");
    let expected = [
        ("302", spent),
        ("400", rejected),
        ("404", rejected),
        ("408", spent),
        ("422", rejected),
        ("425", spent),
        ("429", spent),
        ("500", spent),
        ("503", spent),
    ];
    assert_eq!(
        dead,
        expected.map(|(one, other)| (one.to_owned(), other.to_owned()))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_says_about_a_refusal_is_the_error() {
    let site = Site::start(async |_| answer(422, &[], "width must\nbe positive")).await;
    let (reason, error) = dead(sent(&to(site.url("/")), |_| {}).await);
    assert_eq!(reason, DeadReason::Rejected);
    assert_eq!(
        error,
        "the service answered 422 Unprocessable Entity: width must be positive"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_after_in_seconds_or_as_a_time_is_the_least_delay() {
    let now = "Sun, 06 Nov 1994 08:49:37 GMT";
    let hour = "Sun, 06 Nov 1994 09:49:37 GMT";
    let base = Duration::from_secs(20);
    let hour = [("retry-after", hour), ("date", now)].to_vec();
    for (headers, least) in [
        ([("retry-after", "600")].to_vec(), Duration::from_secs(600)),
        (hour, Duration::from_secs(3600)),
        (vec![], Duration::ZERO),
    ] {
        let given = headers.clone();
        let site = Site::start(move |_| std::future::ready(answer(503, &given, ""))).await;
        let bench = bench().await;
        let running = start(sending(&bench, &to(site.url("/")), |config| {
            config.retry.attempts_max = NonZeroU32::new(2).unwrap();
            config.retry.delay_base = base;
        }));
        let mut task = asking("x");
        task.wants_progress = true;
        submit(&bench, task).await;
        let outcome = told(&bench).await;
        running.stop().await;
        if let Outcome::Retry { delay, .. } = outcome {
            assert!(
                least <= delay && delay <= least + base,
                "{delay:?} for {headers:?}"
            );
        } else {
            panic!("not tried again: {outcome:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_answer_without_an_end_the_begin_is_kept() {
    for status in [200, 500] {
        let site = Site::start(move |_| async move {
            let piece = || Ok::<_, std::io::Error>(Bytes::from_static(&[b'x'; 5000]));
            answer(status, &[], Body::from_stream(stream::repeat_with(piece)))
        })
        .await;
        match (status, sent(&to(site.url("/")), |_| {}).await) {
            (200, Outcome::Done(output)) => assert_eq!(output.payload.len(), RESULT_BYTES_MAX),
            (500, outcome) => {
                let (_, error) = dead(outcome);
                assert!(error.contains("500"), "{error}");
            }
            (_, outcome) => panic!("not done: {outcome:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_breaks_off_is_a_failure() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        assert!(stream.read(&mut head).unwrap() > 0);
        let half = "HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf";
        stream.write_all(half.as_bytes()).unwrap();
    });
    let (reason, error) = dead(sent(&to(url), |_| {}).await);
    assert_eq!(reason, DeadReason::AttemptsSpent);
    assert!(error.contains("broke off"), "{error}");
}

/// Notes that it was dropped.
struct Gone(Arc<AtomicBool>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_the_task_ends_an_answer_that_does_not_come_and_one_that_does_not_end() {
    for path in ["/never", "/begun"] {
        let gone = Arc::new(AtomicBool::new(false));
        let noted = Arc::clone(&gone);
        let site = Site::start(move |path| {
            let gone = Gone(Arc::clone(&noted));
            async move {
                let end = async move {
                    let _gone = gone;
                    std::future::pending::<Result<Bytes, std::io::Error>>().await
                };
                if path == "/never" {
                    let _ = end.await;
                    unreachable!("it waits for ever")
                }
                let begin = stream::iter([Ok(Bytes::from_static(b"begin"))]);
                answer(200, &[], Body::from_stream(begin.chain(stream::once(end))))
            }
        })
        .await;
        let config = to(site.url(path));
        let outcome = sent(&config, |config| {
            config.timeout = Duration::from_millis(300);
            // Nothing waits for it: a service cannot be told to stop.
            config.timeout_grace = Duration::from_secs(3600);
        });
        let (reason, error) = dead(outcome.await);
        assert_eq!(reason, DeadReason::AttemptsSpent);
        assert!(error.contains("timed out"), "{error}");
        until("a closed connection", async || gone.load(Ordering::SeqCst)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let site = Site::start(move |path: String| async move {
            match path.as_str() {
                "/" => answer(status, &[("location", "/inner")], ""),
                _ => answer(200, &[], ""),
            }
        })
        .await;
        let (reason, error) = dead(sent(&to(site.url("/")), |_| {}).await);
        assert_eq!(reason, DeadReason::AttemptsSpent);
        assert!(error.contains("not followed"), "{error}");
        assert_eq!(site.seen().len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_whose_address_is_outside_the_allowed_networks_is_never_connected_to() {
    let site = Site::start(async |_| answer(200, &[], "")).await;
    let port = site.address.port();
    let mut config = to(format!("http://localhost:{port}/"));
    for allow in [&[][..], &["public", "private"], &["10.0.0.0/8", "fd00::/8"]] {
        let networks = allow.iter().map(|text| text.parse().unwrap());
        config.allow = Some(networks.collect());
        let (reason, error) = dead(sent(&config, |_| {}).await);
        assert_eq!(reason, DeadReason::AttemptsSpent);
        assert!(error.contains("`allow` does not permit"), "{error}");
    }
    assert_eq!(site.accepted(), 0);
    config.allow = None;
    assert!(matches!(sent(&config, |_| {}).await, Outcome::Done(_)));
    assert_eq!(site.accepted(), 1);
}

#[test]
fn an_address_outside_the_allowed_networks_is_refused_at_the_start() {
    let mut config = to("http://127.0.0.1:1/");
    config.allow = Some(vec!["private".parse().unwrap()]);
    let error = Http::new(&config).unwrap_err();
    assert!(matches!(error, WorkerError::Config { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_away_costs_an_attempt() {
    let free = pumasi_testkit::rabbitmq::free_port();
    let (reason, error) = dead(sent(&to(format!("http://127.0.0.1:{free}/")), |_| {}).await);
    assert_eq!(reason, DeadReason::AttemptsSpent);
    assert!(error.contains("the service gave no answer: "), "{error}");
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_share_connections() {
    let site = Site::start(async |_| answer(200, &[], "ok")).await;
    let bench = bench().await;
    let config = HttpConfig {
        idle_timeout: LIMIT,
        ..to(site.url("/"))
    };
    let running = start(sending(&bench, &config, |config| {
        config.concurrency = NonZeroU16::MIN;
    }));
    for _ in 0..50 {
        submit(&bench, Task::new("x")).await;
    }
    until("the tasks' end", async || bench.left("work").await == 0).await;
    running.stop().await;
    assert_eq!(site.seen().len(), 50);
    assert_eq!(site.accepted(), 1);
}

#[test]
fn a_worker_sends_tasks_by_its_configuration_and_asks_no_proxy() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let site = runtime.block_on(Site::start(async |_| answer(200, &[], "")));
    let (place, collector) = (Place::embedded(), Collector::start());
    let file = place.path("pumasi.toml");
    let url = format!("http://localhost:{}/tasks", site.address.port());
    let text =
        format!("[[worker.handlers]]\nkind = \"image.resize\"\nhttp = {{ url = {url:?} }}\n");
    std::fs::write(&file, text).unwrap();
    let nobody = format!("http://127.0.0.1:{}", pumasi_testkit::rabbitmq::free_port());
    let mut settings = vec![("PUMASI__TELEMETRY__OTLP_ENDPOINT", &*collector.endpoint)];
    for proxy in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
        settings.push((proxy, &nobody));
    }
    // The collector's; the service is `localhost`.
    settings.push(("NO_PROXY", "127.0.0.1"));
    let mut worker = Service::start(place.command(&settings).arg("--config").arg(file));
    let _ = probes(&worker);
    place.submit_kind(
        "image.resize",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    );
    process::until("the request", || site.seen().len() == 1);
    worker.terminate();
    assert_eq!(worker.wait(), Some(0));
    let seen = site.seen().remove(0);
    assert_eq!(seen.header("ce-type"), Some("image.resize"));
    let run = collector.only("process tasks");
    assert_eq!(run.trace, "0af7651916cd43dd8448eb211c80319c");
    let traceparent = run.traceparent();
    assert_eq!(seen.header("traceparent"), Some(&*traceparent));
}
