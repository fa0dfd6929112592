//! What lapin does wrong by itself, so that we notice when it is repaired, and that nobody who
//! uses our broker meets it.

use super::*;
use futures_util::future::{join, join_all};
use pumasi_testkit::proxy::{Cut, Proxy, Spot, Trap, Way};
use std::time::Instant;

/// Less than the time-out for connecting, which is 10 s; a node takes 5 s for its greeting at times.
const AT_ONCE: Duration = Duration::from_secs(8);

/// A proxy before a node, and the URL that leads through it.
fn proxied(node: &RabbitMq, vhost: &str) -> (Proxy, String) {
    let proxy = Proxy::to(node.port());
    let (from, to) = (node.port(), proxy.port());
    let url = node.url_of(vhost);
    let through = url.replace(&format!(":{from}/"), &format!(":{to}/"));
    assert_ne!(url, through);
    (proxy, through)
}

/// A call of lapin's that meets the end of its connection stays without an answer now and then:
/// six times in five hundred resets. There is no saying when, so this only shows our side.
#[test]
fn a_call_that_meets_the_end_of_its_connection_gets_an_answer() {
    together(|node| async move {
        let (proxy, url) = proxied(node, &node.new_vhost());
        let broker = open(&url).await;
        let queues = (0..30).map(|number| {
            let queue = name(&format!("work{number}"));
            QueueSpec::new(queue).with_kind(QueueKind::Classic)
        });
        let topology = Topology {
            queues: queues.collect(),
            topics: vec![],
        };
        for round in 0..60_u64 {
            let declaring = async {
                let begun = Instant::now();
                // They may have been cut, or not.
                join_all((0..8).map(|_| broker.ensure_topology(&topology))).await;
                begun.elapsed()
            };
            let cutting = async {
                tokio::time::sleep(Duration::from_millis(30 + 7 * (round % 11))).await;
                tokio::task::block_in_place(|| proxy.cut(Cut::Reset));
            };
            let (took, ()) = join(declaring, cutting).await;
            assert!(took < AT_ONCE, "{round}: {took:?}");
        }
        broker.ensure_topology(&topology).await.unwrap();
        broker.close().await;
    });
}

#[test]
fn a_greeting_that_is_cut_anywhere_is_an_error_at_once() {
    together(|node| async move {
        let (proxy, url) = proxied(node, &node.new_vhost());
        for way in Way::BOTH {
            let before = proxy.carried(way);
            open(&url).await.close().await;
            let greeting = proxy.carried(way) - before;
            let mut refused = 0;
            for (number, byte) in (0..greeting).step_by(9).enumerate() {
                let how = [Cut::Finish, Cut::Reset][number % 2];
                let spot = Spot::OfConnection(byte);
                proxy.trap(Trap { way, spot, how });
                let begun = Instant::now();
                let opened = open_with(ConnectionSettings::of_url(&url)).await;
                let took = begun.elapsed();
                let problem = opened.as_ref().err().map(ToString::to_string);
                assert!(
                    took < AT_ONCE,
                    "{way:?} {how:?} at {byte}: {took:?} {problem:?} {}",
                    proxy.sprung()
                );
                match opened {
                    // Cut when it was greeted already.
                    Ok(broker) => drop(timeout(AT_ONCE, broker.close()).await),
                    Err(_) => refused += 1,
                }
                proxy.heal();
            }
            println!("{way:?}: {greeting} bytes, {refused} refused");
            assert!(refused > 10);
        }
    });
}
