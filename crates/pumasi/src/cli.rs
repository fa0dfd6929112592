//! The command line: the surface that users and scripts rely on.

mod dead;
mod submit;

pub(crate) use dead::{Dead, Filter, Selection};
pub(crate) use submit::{OnError, Submit};

use clap::{Args, Parser, Subcommand};
use pumasi_common::{QueueKind, QueueName, TaskId, TaskKind, TopicName, field::duration};
use pumasi_worker::{AckMode, Prefetch};
use std::{
    num::{NonZeroU16, NonZeroU64},
    path::PathBuf,
    time::Duration,
};

/// The queue that is meant when none is named.
pub(crate) const DEFAULT_QUEUE: &str = "tasks";

/// A task queue for RabbitMQ: producers submit, workers compete.
///
/// Without --broker it works on an embedded broker: one file in your state folder.
#[derive(Debug, Parser)]
#[command(
    name = "pumasi",
    version,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub(crate) struct Global {
    /// Broker URL: amqp://user@host:5672/vhost, amqps://…, or sqlite:PATH
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) broker: Option<String>,
    /// Configuration file (default: pumasi.toml where it exists)
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// How logs are written to standard error: text or json
    #[arg(long, global = true, value_name = "FORMAT", value_parser = ["text", "json"])]
    pub(crate) log_format: Option<String>,
    /// Print results, notes and errors as JSON, one object per line
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// What can be asked.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Submit one task, or many from a file
    Submit(Box<Submit>),
    /// Consume queues and run handlers
    Worker(Worker),
    /// Serve the HTTP gateway on this machine
    Gateway,
    /// Publish an event to every subscription of a topic
    Publish(Publish),
    /// Look at queues and change them
    #[command(subcommand)]
    Queue(Queue),
    /// Cancel tasks
    #[command(subcommand)]
    Task(TaskCommand),
    /// Ask the worker of this name to finish what it has begun and end
    Drain {
        /// Its name, as it says at its start and as `worker --name` sets it
        worker: String,
    },
    /// Look at dead letters, submit them again, or delete them
    #[command(subcommand)]
    Dead(Dead),
    /// Compare the configured topology with the broker, or make it exist
    #[command(subcommand)]
    Topology(TopologyCommand),
    /// Look at the configuration in force
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Say what an error code means and what to do about it
    Explain {
        /// The code, like PU3002
        code: String,
    },
    /// Tell the whole story: producers, competing workers, one killed in mid-task, nothing lost
    Demo(Demo),
    /// A worker process of the demo
    #[command(hide = true)]
    DemoWorker,
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// `pumasi worker`.
#[derive(Debug, Args)]
pub(crate) struct Worker {
    /// A queue to consume; may be repeated (default: those of the configuration, else `tasks`)
    #[arg(short, long = "queue", value_name = "QUEUE")]
    pub(crate) queues: Vec<QueueName>,
    /// Most handlers running at once (default: 4)
    #[arg(short, long)]
    pub(crate) concurrency: Option<NonZeroU16>,
    /// Most unsettled deliveries held for each queue: a number, or auto, as many as handlers (default: auto)
    #[arg(long)]
    pub(crate) prefetch: Option<Prefetch>,
    /// When the broker may forget a task: after-work (nothing is lost) or on-receipt (a crash loses
    /// what was running) (default: after-work)
    #[arg(long, value_parser = ack_mode)]
    pub(crate) ack: Option<AckMode>,
    /// How long running handlers may go on after SIGTERM (default: 25s)
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    pub(crate) drain_timeout: Option<Duration>,
    /// The worker's name in logs, dead letters and at the broker (default: host and process id)
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The program that handles every task, whatever its kind, with its arguments; takes the rest of the line
    #[arg(long, value_name = "CMD", num_args = 1.., allow_hyphen_values = true)]
    pub(crate) exec: Vec<String>,
    /// Do not declare the queues first: for users without configure permission
    #[arg(long)]
    pub(crate) no_declare: bool,
}

fn ack_mode(text: &str) -> Result<AckMode, String> {
    match text {
        "after-work" => Ok(AckMode::AfterWork),
        "on-receipt" => Ok(AckMode::OnReceipt),
        _ => Err("expected after-work or on-receipt".to_owned()),
    }
}

/// `pumasi publish`.
#[derive(Debug, Args)]
pub(crate) struct Publish {
    /// The topic
    pub(crate) topic: TopicName,
    /// The payload: words joined by a space, or `-` for standard input
    #[arg(value_name = "WORDS", required = true)]
    pub(crate) words: Vec<String>,
    /// The kind of the event
    #[arg(short, long)]
    pub(crate) kind: Option<TaskKind>,
    /// The id; makes the publish safe to repeat
    #[arg(long)]
    pub(crate) id: Option<TaskId>,
}

/// `pumasi queue`.
#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// All queues; RabbitMQ tells only about those of the configuration without broker.management_url
    List,
    /// One queue: tasks ready, in flight and kept back, consumers, whether it is paused
    Show {
        /// The queue
        name: QueueName,
    },
    /// Make a queue and its dead letters exist
    Declare {
        /// The queue
        name: QueueName,
        /// How it keeps tasks: quorum (replicated, on disk before it is confirmed), classic (one
        /// node), transient (gone with the broker; RabbitMQ up to 4.2)
        #[arg(long, default_value_t = QueueKind::Quorum, value_parser = queue_kind)]
        kind: QueueKind,
        /// Most tasks it holds; further ones are refused
        #[arg(long, value_name = "TASKS")]
        length_max: Option<NonZeroU64>,
    },
    /// Have workers stop consuming a queue until it is resumed; tasks are submitted as before
    Pause {
        /// The queue
        name: QueueName,
    },
    /// Have workers consume a queue again
    Resume {
        /// The queue
        name: QueueName,
    },
    /// Delete all ready tasks of a queue for ever
    Purge {
        /// The queue
        name: QueueName,
        /// Really do it
        #[arg(long)]
        yes: bool,
    },
}

fn queue_kind(text: &str) -> Result<QueueKind, String> {
    match text {
        "quorum" => Ok(QueueKind::Quorum),
        "classic" => Ok(QueueKind::Classic),
        "transient" => Ok(QueueKind::Transient),
        _ => Err("expected quorum, classic or transient".to_owned()),
    }
}

/// `pumasi task`.
#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Cancel a task: one that waits is gone, one that runs is told so. Exit status 1 where there is
    /// no such task
    Cancel {
        /// The id of the task
        id: TaskId,
    },
}

/// `pumasi topology`.
#[derive(Debug, Subcommand)]
pub(crate) enum TopologyCommand {
    /// Say what is there, what is missing and what differs
    Plan,
    /// Make what is missing; change nothing that exists
    Apply,
}

/// `pumasi config`.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Say whether the configuration can be used
    Check,
    /// Print every value in force and where it comes from
    Show,
}

/// `pumasi demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// How many tasks are submitted
    #[arg(long, default_value_t = 30)]
    pub(crate) tasks: u32,
    /// How many workers compete, 2 to 20
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(2..=20))]
    pub(crate) workers: u32,
    /// Wait for Enter between submitting and working
    #[arg(long, hide = true)]
    pub(crate) pause: bool,
}
