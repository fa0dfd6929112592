//! `pumasi queue list|show|declare|pause|resume|purge`.

use super::Session;
use crate::{
    cli::{Global, Queue},
    failure::{self, Failure},
    say::{note, print, print_json},
};
use pumasi_common::{
    QueueName, QueueSpec, Topology,
    broker::{Pause, QueueStatus},
    topology::Declaration,
};
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
        Queue::List => list(&session).await?,
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
            declare(&session, spec).await?;
        }
        Queue::Pause { name } => {
            admin.pause(&name, Pause::On).await?;
            tell_pause(&name, true, json);
        }
        Queue::Resume { name } => {
            admin.pause(&name, Pause::Off).await?;
            tell_pause(&name, false, json);
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

async fn list(session: &Session) -> Result<(), Failure> {
    let known: Vec<QueueName> = session
        .settings
        .topology()
        .declarations()?
        .into_iter()
        .filter_map(|declaration| match declaration {
            Declaration::Queue(queue) => Some(queue.name),
            Declaration::Exchange(_) | Declaration::Binding { .. } => None,
        })
        .collect();
    let queues = session.broker.admin().queues(&known).await?;
    show(&queues, session.global.json);
    if !session.broker.capabilities().lists_queues {
        note(
            "this broker tells only about queues that the configuration names; \
             with broker.management_url it tells about all",
        );
    }
    Ok(())
}

async fn declare(session: &Session, spec: QueueSpec) -> Result<(), Failure> {
    let topology = Topology {
        queues: vec![spec],
        topics: Vec::new(),
    };
    let plan = session.broker.ensure_topology(&topology).await?;
    if session.global.json {
        print_json(&plan);
    } else {
        let objects = plan.present.iter();
        objects.for_each(|object| print(format_args!("present  {object}")));
        let objects = plan.missing.iter();
        objects.for_each(|object| print(format_args!("created  {object}")));
    }
    Ok(())
}

fn tell_pause(queue: &QueueName, paused: bool, json: bool) {
    if json {
        print_json(&serde_json::json!({ "queue": queue, "paused": paused }));
    } else {
        let word = if paused { "paused" } else { "resumed" };
        print(format_args!("{word} {queue}"));
    }
}

fn show(queues: &[QueueStatus], json: bool) {
    if json {
        return queues.iter().for_each(print_json);
    }
    let text = |number: Option<u64>| number.map_or_else(|| "?".to_owned(), |n| n.to_string());
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header([
        "QUEUE",
        "KIND",
        "READY",
        "IN FLIGHT",
        "DELAYED",
        "CONSUMERS",
        "PAUSED",
    ]);
    for queue in queues {
        table.add_row([
            queue.name.to_string(),
            queue
                .kind
                .map_or_else(|| "?".to_owned(), |kind| kind.to_string()),
            queue.ready.to_string(),
            text(queue.in_flight),
            text(queue.delayed),
            queue.consumers.to_string(),
            if queue.paused { "yes" } else { "no" }.to_owned(),
        ]);
    }
    print(table);
}
