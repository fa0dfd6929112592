//! How opening fails.

use super::*;
use pumasi_common::ErrorCode;
use pumasi_testkit::rabbitmq::free_port;

#[test]
fn each_way_to_fail_has_its_code_and_no_text_holds_the_password() {
    each(|node| async move {
        let port = node.port();
        for (url, code) in [
            (
                format!("amqp://guest:hunter2@127.0.0.1:{port}"),
                ErrorCode::AccessRefused,
            ),
            (
                format!("amqp://guest:guest@127.0.0.1:{port}/nowhere"),
                ErrorCode::VhostMissing,
            ),
            (
                format!("amqp://guest:hunter2@127.0.0.1:{}", free_port()),
                ErrorCode::BrokerUnreachable,
            ),
        ] {
            let error = open_with(ConnectionSettings::of_url(&url))
                .await
                .unwrap_err();
            assert_eq!(error.code, code, "{error:?}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    });
}

#[test]
fn the_second_host_is_used_when_the_first_is_dead() {
    each(|node| async move {
        let url = format!(
            "amqp://guest:guest@127.0.0.1:{},127.0.0.1:{}",
            free_port(),
            node.port()
        );
        let broker = open(&url).await;
        assert_eq!(broker.health(), pumasi_common::broker::Health::Up);
        broker.close().await;
    });
}
