//! Works that `cargo xtask bench` measures, driven through the product's own code, and the plain
//! lapin loops beside them: WORK AT COUNT BYTES WINDOW. One line of JSON comes out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot be made fails"
)]

mod both;
mod drain;
mod file;
mod gateway;
mod place;
mod plain;
mod submit;
mod wake;

use pumasi_testkit::bench::Order;
use pumasi_worker::handler::exec::lifeline;

#[tokio::main]
async fn main() {
    // Programs of the exec handler end with their worker, as in the service.
    if lifeline::run_if_asked().is_some() {
        return;
    }
    let Some(order) = Order::or_explain() else {
        return;
    };
    match order.work.as_str() {
        "prepare" => place::prepare(&order).await,
        "clear" => plain::clear(&order).await,
        "submit-many" => submit::many(&order).await.print(),
        "submit-callers" => submit::callers(&order).await.print(),
        "submit-one" => submit::one(&order).await.print(),
        "submit-file" => file::submit(&order).print(),
        "drain" => drain::nothing(&order).await.print(),
        "drain-exec" => drain::exec(&order).await.print(),
        "both" => both::at_once(&order).await.print(),
        "queue-time" => both::queue_time(&order).await.print(),
        "gateway" => gateway::submit(&order).await.print(),
        "http" => gateway::nothing(&order).await.print(),
        "http-server" => gateway::serve_nothing().await,
        "wake" => wake::submit(&order).await.print(),
        "wake-worker" => wake::worker(&order).await.print(),
        "plain-publish" => plain::publish(&order).await.print(),
        "plain-consume" => plain::consume(&order).await.print(),
        other => panic!("there is no work `{other}`"),
    }
}
