//! One file per command.

mod config;
mod dead;
mod demo;
mod drain;
mod explain;
mod gateway;
mod publish;
mod queue;
mod submit;
mod task;
mod topology;
mod worker;

use crate::{
    cli::{Cli, Command, Global},
    failure::{self, Failure},
    settings::Settings,
};
use clap::CommandFactory;
use pumasi_common::Broker;
use pumasi_service::{
    config::Loaded,
    process,
    telemetry::{self, Telemetry},
};
use std::{io::Read, process::ExitCode, sync::Arc};

/// What a command works with.
struct Session {
    global: Global,
    settings: Settings,
    broker: Arc<dyn Broker>,
    telemetry: Option<Telemetry>,
}

impl Session {
    async fn open(global: Global) -> Result<Self, Failure> {
        let settings = Settings::load(&global)?.value;
        Self::open_with(global, settings).await
    }

    /// The same, with traces where they are configured. Of the log, only what is wrong is shown: a
    /// command's user reads its output.
    async fn open_traced(global: Global, loaded: Loaded<Settings>) -> Result<Self, Failure> {
        let mut config = loaded.value.telemetry.clone();
        if loaded.is_default("telemetry.log_level") {
            "warn".clone_into(&mut config.log_level);
        }
        let telemetry = telemetry::start(&config, "pumasi")?;
        let mut session = Self::open_with(global, loaded.value).await?;
        session.telemetry = Some(telemetry);
        Ok(session)
    }

    /// Closes the broker and sends the last traces.
    async fn close(self) {
        self.broker.close().await;
        if let Some(telemetry) = self.telemetry {
            process::finish(telemetry).await;
        }
    }

    async fn open_with(global: Global, settings: Settings) -> Result<Self, Failure> {
        let broker = pumasi_broker::open(&settings.broker).await?;
        Ok(Self {
            global,
            settings,
            broker,
            telemetry: None,
        })
    }
}

pub(crate) async fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Submit(arguments) => submit::run(global, *arguments).await,
        Command::Worker(arguments) => worker::run(global, arguments).await,
        Command::Gateway => gateway::run(global).await,
        Command::Publish(arguments) => publish::run(global, arguments).await,
        Command::Queue(command) => queue::run(global, command).await,
        Command::Task(command) => task::run(global, command).await,
        Command::Drain { worker } => drain::run(global, &worker).await,
        Command::Dead(command) => dead::run(global, command).await,
        Command::Topology(command) => topology::run(global, command).await,
        Command::Config(command) => config::run(&global, command),
        Command::Demo(arguments) => demo::run(global, arguments).await,
        Command::DemoWorker => demo::run_worker(global).await,
        Command::Explain { code } => explain::run(&code, global.json),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "pumasi", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// The payload of words: joined by a space, or all of standard input for `-`, which is read no
/// further than the limit.
fn payload(words: &[String], bytes_max: usize) -> Result<Vec<u8>, Failure> {
    if words != ["-"] {
        return Ok(words.join(" ").into_bytes());
    }
    let mut bytes = Vec::new();
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX);
    std::io::stdin()
        .lock()
        .take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| failure::unreadable("cannot read standard input".to_owned(), error))?;
    if bytes.len() > bytes_max {
        return Err(failure::too_large(format!(
            "standard input has more than the limit of {bytes_max} bytes"
        )));
    }
    Ok(bytes)
}

/// A text that can do nothing to a terminal, on one line.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    line.chars()
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_text_stays_on_its_line_and_moves_no_cursor() {
        assert_eq!(one_line("a\n  b\tc\u{1b}[2J"), "a b c\\u{1b}[2J");
        assert_eq!(one_line("값 없음"), "값 없음");
    }
}
