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

#[test]
fn over_tls_a_task_goes_both_ways_where_the_authority_is_known() {
    // The process does it first thing where telemetry is started.
    let _ = rustls::crypto::ring::default_provider().install_default();
    for version in Version::ALL {
        if let Err(missing) = version.available() {
            println!("left out: {missing}");
            continue;
        }
        let (_node, tls) = RabbitMq::start_with_tls(version);
        let at = |host: &str, ca_file| ConnectionSettings {
            ca_file,
            ..ConnectionSettings::of_url(&format!("amqps://guest:guest@{host}:{}", tls.port))
        };
        runtime().block_on(async {
            let known = Some(tls.ca_file.clone());
            let broker = open_with(at("localhost", known.clone())).await.unwrap();
            let product = broker.capabilities().product;
            assert!(
                product.starts_with("RabbitMQ 3.10") || product.starts_with("RabbitMQ 4.3"),
                "{product}"
            );
            declare(&broker, "work", QueueKind::Quorum).await;
            publish(&broker, "work", "secret").await;
            let mut consumer = consume(&broker, "work", 1).await;
            let delivery = next(&mut consumer).await;
            assert_eq!(payload(&delivery), "secret");
            broker.close().await;
            for (host, ca_file) in [("localhost", None), ("127.0.0.1", known)] {
                let error = open_with(at(host, ca_file)).await.unwrap_err();
                assert_eq!(error.code, ErrorCode::BrokerUnreachable, "{error:?}");
                let text = format!("{error} {:?}", std::error::Error::source(&error));
                assert!(text.contains("certificate"), "{text}");
            }
        });
    }
}
