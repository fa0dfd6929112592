//! `pumasi config check|show`.

use crate::{
    cli::{ConfigCommand, Global},
    failure::Failure,
    say::{print, print_json},
    settings::Settings,
};
use std::process::ExitCode;

pub(super) fn run(global: &Global, command: ConfigCommand) -> Result<ExitCode, Failure> {
    let loaded = Settings::load(global)?;
    match command {
        ConfigCommand::Check if global.json => print_json(&serde_json::json!({ "usable": true })),
        ConfigCommand::Check => print("the configuration can be used"),
        ConfigCommand::Show if global.json => loaded.origins.iter().for_each(print_json),
        ConfigCommand::Show => {
            for entry in &loaded.origins {
                print(format_args!(
                    "{} = {}  # {}",
                    entry.key, entry.value, entry.origin
                ));
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
