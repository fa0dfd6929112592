//! `pumasi`: the one command a person installs.
//!
//! [`cli`] says what can be asked, [`settings`] what is configured, `commands` does it.

mod cli;
mod commands;
mod failure;
mod say;
mod settings;

use pumasi_service::process;
use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(code) = pumasi_worker::handler::exec::lifeline::run_if_asked() {
        return code;
    }
    let cli: cli::Cli = match process::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    if cli.global.json {
        say::speak_json();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return say::report(&failure::internal("cannot start the runtime", error));
        }
    };
    runtime.block_on(async {
        match commands::run(cli).await {
            Ok(code) => code,
            Err(failure) => say::report(&failure),
        }
    })
}
