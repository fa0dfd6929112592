//! A worker on a broker of its own, and tasks for it.

use pumasi_broker::trace;
use pumasi_common::{
    ConnectionSettings, Destination, Publication, PublishOutcome, QueueName, Task, TaskKind,
    Topology, task::TraceContext,
};
use pumasi_testkit::process::{Service, until};
use std::{net::SocketAddr, path::PathBuf, process::Command};
use tempfile::TempDir;

/// A handler that says that it has started and goes on when it is let go.
const HANDLER: &str = r#"
: > "$0/started-$PUMASI_TASK_ID"
printf %s "$TRACEPARENT" > "$0/traceparent"
until [ -e "$0/go" ]; do /bin/sleep 0.02; done
"#;

/// A broker and a folder for what a worker leaves behind.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) folder: TempDir,
}

impl Place {
    /// On the embedded broker.
    pub(crate) fn embedded() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("q.db").display());
        Self { url, folder }
    }

    /// On this broker.
    pub(crate) fn on(url: String) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { url, folder }
    }

    /// A worker of the queue `tasks` with these settings besides.
    pub(crate) fn command(&self, environment: &[(&str, &str)]) -> Command {
        let mut command = command();
        command
            .env("PUMASI__BROKER__URL", &self.url)
            .env("PUMASI__WORKER__QUEUES", "tasks")
            .env("PUMASI__HEALTH__LISTEN", "127.0.0.1:0")
            .envs(environment.iter().copied());
        command
    }

    /// The same with a handler that waits for [`Place::let_go`].
    pub(crate) fn waiting(&self, environment: &[(&str, &str)]) -> Command {
        let file = self.folder.path().join("pumasi.toml");
        let folder = self.folder.path();
        let text = format!(
            "[[worker.handlers]]\nexec = [\"/bin/sh\", \"-c\", '''{HANDLER}''', {folder:?}]\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = self.command(environment);
        command.arg("--config").arg(file);
        command
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Waits until this many handlers have started.
    pub(crate) fn wait_started(&self, count: usize) {
        until("started handlers", || self.started() == count);
    }

    pub(crate) fn started(&self) -> usize {
        let files = std::fs::read_dir(self.folder.path()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("started-")).count()
    }

    /// Lets all waiting handlers finish.
    pub(crate) fn let_go(&self) {
        std::fs::write(self.path("go"), "").unwrap();
    }

    /// Submits this many tasks to `tasks`, which is declared first.
    pub(crate) fn submit(&self, count: usize) {
        for _ in 0..count {
            self.publish(Task::new("x"));
        }
    }

    /// Submits a task of a kind that was created in this trace.
    pub(crate) fn submit_kind(&self, kind: &str, traceparent: &str) {
        let mut task = Task::new("hunter2").with_kind(TaskKind::new(kind).unwrap());
        task.trace = TraceContext::parse(traceparent.to_owned(), None);
        self.publish(task);
    }

    pub(crate) fn publish(&self, task: Task) {
        assert!(!trace::is_on(), "this process adds nothing");
        let queue = QueueName::new("tasks").unwrap();
        let mut topology = Topology::default();
        topology.add_missing(std::slice::from_ref(&queue));
        self.with_broker(async |broker| {
            broker.ensure_topology(&topology).await.unwrap();
            let destination = Destination::Queue(queue);
            let outcome = broker.publish(Publication::new(destination, task)).await;
            assert!(
                matches!(outcome, PublishOutcome::Accepted(_)),
                "{outcome:?}"
            );
        });
    }

    /// The tasks that are ready, asked of the broker itself.
    pub(crate) fn ready(&self, queue: &str) -> u64 {
        let queue = QueueName::new(queue).unwrap();
        self.with_broker(async |broker| broker.admin().queue(&queue).await.unwrap().ready)
    }

    fn with_broker<T>(&self, ask: impl AsyncFnOnce(&dyn pumasi_common::Broker) -> T) -> T {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let settings = ConnectionSettings::of_url(&self.url);
            let broker = pumasi_broker::open(&settings).await.unwrap();
            let answer = ask(&*broker).await;
            broker.close().await;
            answer
        })
    }
}

/// Where a worker answers probes, once it works.
pub(crate) fn probes(worker: &Service) -> SocketAddr {
    let _ = worker.line_with("worker started");
    worker.address("health listening")
}

/// The program, in a folder without a configuration file and with no settings of the caller's.
pub(crate) fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pumasi-worker"));
    command
        .current_dir("/")
        .env_clear()
        .env("PATH", "/usr/bin:/bin");
    command
}
