//! `cargo xtask demo | test | docs | ci | image | bench | faults`: everything a person would otherwise script.

mod bench;
mod demo;
mod deps;
mod faults;
mod image;
mod process;
mod system;

use clap::{Parser, Subcommand};
use process::{Result, cargo};
use std::{path::Path, process::ExitCode};

/// Automation of Pumasi's workspace.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The main job as a story: submit, compete, kill a worker, lose nothing
    Demo {
        /// On a private RabbitMQ node, which is restarted with a full queue on the way
        #[arg(long)]
        rabbitmq: bool,
    },
    /// Run all tests; installs RabbitMQ 3.10 and 4.3 where they are missing and it may
    Test,
    /// Write the reference pages that are made from the program
    Docs,
    /// fmt, clippy, docs, bans, licences where cargo-deny is installed, then the tests
    Ci,
    /// Container images of static binaries built on this host, for where no registry is reached
    Image {
        /// What to build for; its static C library must be here
        #[arg(long, default_value = "x86_64-unknown-linux-gnu")]
        target: String,
    },
    /// Speed beside a minimal C client, plain lapin and raw SQLite, as ratios of one run, in release
    Bench(bench::Options),
    /// Kill, stop and cut real processes and brokers, and check that nothing is lost
    Faults(faults::Options),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Demo { rabbitmq: false } => demo::embedded(),
        Command::Demo { rabbitmq: true } => system::rabbitmq().and_then(|()| demo::rabbitmq()),
        Command::Test => test(),
        Command::Docs => docs(),
        Command::Ci => ci(),
        Command::Image { target } => image::build(&target),
        Command::Bench(options) => bench::run(&options),
        Command::Faults(options) => system::rabbitmq().and_then(|()| faults::run(&options)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::FAILURE
        }
    }
}

fn test() -> Result {
    system::rabbitmq()?;
    system::clients()?;
    system::kubectl();
    cargo(&["build", "--workspace", "--all-targets"])?;
    let required = [
        ("PUMASI_REQUIRE_RABBITMQ4", "1"),
        ("PUMASI_REQUIRE_CLIENTS", "1"),
    ];
    process::run_with(
        "cargo",
        &["test", "--workspace", "--no-fail-fast"],
        &required,
    )?;
    // They take the whole machine, and other tests compare how long things take.
    for (package, alone) in [
        ("pumasi", "a_million"),
        ("pumasi-broker-rabbitmq", "a_hundred_thousand"),
        ("pumasi-worker", "twenty_thousand"),
    ] {
        let test = ["test", "-p", package, "--test", "it"];
        let arguments = [&test[..], &["--", "--ignored", alone]].concat();
        process::run_with("cargo", &arguments, &required)?;
    }
    faults::run(&faults::Options::default())
}

fn docs() -> Result {
    let bless = [("PUMASI_BLESS", "1")];
    for (package, pages) in [
        ("pumasi", "reference"),
        ("pumasi-worker", "help"),
        ("pumasi-producer", "approved"),
    ] {
        let arguments = ["test", "--package", package, "--test", "it", pages];
        process::run_with("cargo", &arguments, &bless)?;
    }
    Ok(())
}

fn ci() -> Result {
    cargo(&["fmt", "--all", "--check"])?;
    cargo(&[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "-D",
        "warnings",
    ])?;
    process::run_with(
        "cargo",
        &["doc", "--workspace", "--no-deps"],
        &[("RUSTDOCFLAGS", "-D warnings")],
    )?;
    deps::check(Path::new("."))?;
    if process::succeeds("cargo", &["deny", "--version"]) {
        cargo(&["deny", "check", "licenses", "bans", "sources"])?;
    } else {
        println!(
            "cargo-deny is not installed: licences are not checked (cargo install --locked cargo-deny)"
        );
    }
    test()
}
