//! `pumasi queue list|show|declare|purge`.

use super::Session;
use crate::{
    cli::{Global, Queue},
    failure::{self, Failure},
    say::{note, print, print_json},
};
use pumasi_common::{QueueName, QueueSpec, Topology, broker::QueueStatus};
use std::process::ExitCode;

pub(super) async fn run(global: Global, command: Queue) -> Result<ExitCode, Failure> {
    if let Queue::Purge { name, yes: false } = &command {
        return Err(failure::usage(format!(
            "purging deletes all ready tasks of `{name}` for ever; say --yes to do it"
        )));
    }
    let session = Session::open(global).await?;
    let json = session.global.json;
    let admin = session.broker.admin();
    match command {
        Queue::List => {
            let known: Vec<QueueName> = session
                .settings
                .topology()
                .declarations()?
                .into_iter()
                .filter_map(|declaration| match declaration {
                    pumasi_common::topology::Declaration::Queue(queue) => Some(queue.name),
                    pumasi_common::topology::Declaration::Exchange(_)
                    | pumasi_common::topology::Declaration::Binding { .. } => None,
                })
                .collect();
            show(&admin.queues(&known).await?, json);
            if !session.broker.capabilities().lists_queues {
                note(
                    "this broker tells only about queues that the configuration names; \
                     with broker.management_url it tells about all",
                );
            }
        }
        Queue::Show { name } => show(&[admin.queue(&name).await?], json),
        Queue::Declare {
            name,
            kind,
            length_max,
        } => {
            let spec = QueueSpec {
                length_max,
                ..QueueSpec::new(name).with_kind(kind)
            };
            let topology = Topology {
                queues: vec![spec],
                topics: Vec::new(),
            };
            let plan = session.broker.ensure_topology(&topology).await?;
            if json {
                print_json(&plan);
            } else {
                plan.present
                    .iter()
                    .for_each(|object| print(format_args!("present  {object}")));
                plan.missing
                    .iter()
                    .for_each(|object| print(format_args!("created  {object}")));
            }
        }
        Queue::Purge { name, .. } => {
            let purged = admin.purge(&name).await?;
            if json {
                print_json(&serde_json::json!({ "queue": name, "purged": purged }));
            } else {
                print(format_args!("purged {purged} ready tasks of {name}"));
            }
        }
    }
    session.broker.close().await;
    Ok(ExitCode::SUCCESS)
}

fn show(queues: &[QueueStatus], json: bool) {
    if json {
        return queues.iter().for_each(print_json);
    }
    let text = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["QUEUE", "KIND", "READY", "IN FLIGHT", "CONSUMERS"]);
    for queue in queues {
        table.add_row([
            queue.name.to_string(),
            queue
                .kind
                .map_or_else(|| "?".to_owned(), |kind| kind.to_string()),
            queue.ready.to_string(),
            text(queue.in_flight),
            queue.consumers.to_string(),
        ]);
    }
    print(table);
}
