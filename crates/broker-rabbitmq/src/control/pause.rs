//! Whether a queue is paused: an exchange `Q.paused` that leads nowhere, there or not.
//!
//! It is the truth about a pause; entries of the control stream only say that it is to be looked
//! at. An exchange, since it is nothing but a name that every node of a cluster has and keeps.

use crate::{
    connection::Link,
    topology::object::{self, Arguments, Failure, Object},
};
use lapin::{ExchangeKind, options::ExchangeDeleteOptions};
use pumasi_common::{QueueName, broker::Pause};

fn marker(queue: &QueueName) -> Object {
    Object::Exchange {
        name: name(queue),
        kind: ExchangeKind::Fanout,
        arguments: Arguments::new(),
    }
}

fn name(queue: &QueueName) -> String {
    format!("{queue}.paused")
}

/// Whether it is paused now.
pub(crate) async fn is_paused(link: &Link, queue: &QueueName) -> Result<bool, Failure> {
    marker(queue).exists(link).await
}

/// Sets or removes the mark; either may be done twice.
pub(super) async fn mark(link: &Link, queue: &QueueName, pause: Pause) -> Result<(), Failure> {
    match pause {
        Pause::On => marker(queue).declare(link).await,
        Pause::Off => {
            let channel = object::channel(link).await?;
            let options = ExchangeDeleteOptions::default();
            Ok(channel.exchange_delete(name(queue).into(), options).await?)
        }
    }
}
