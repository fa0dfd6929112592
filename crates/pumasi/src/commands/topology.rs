//! `pumasi topology plan|apply`.

use super::Session;
use crate::{
    cli::{Global, TopologyCommand},
    failure::Failure,
    say::{note, print, print_json},
};
use pumasi_common::topology::Plan;
use std::process::ExitCode;

pub(super) async fn run(global: Global, command: TopologyCommand) -> Result<ExitCode, Failure> {
    let session = Session::open(global).await?;
    let topology = session.settings.topology();
    if topology.queues.is_empty() && topology.topics.is_empty() {
        note("the configuration names no queues and no topics");
    }
    let (plan, verb) = match command {
        TopologyCommand::Plan => (session.broker.plan_topology(&topology).await?, "missing"),
        TopologyCommand::Apply => (session.broker.ensure_topology(&topology).await?, "created"),
    };
    session.broker.close().await;
    show(&plan, verb, session.global.json);
    Ok(if plan.differences.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(69)
    })
}

fn show(plan: &Plan, verb: &str, json: bool) {
    if json {
        return print_json(plan);
    }
    for object in &plan.present {
        print(format_args!("present  {object}"));
    }
    for object in &plan.missing {
        print(format_args!("{verb}  {object}"));
    }
    for difference in &plan.differences {
        print(format_args!("differs  {difference}"));
    }
}
