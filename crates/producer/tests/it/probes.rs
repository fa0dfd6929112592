//! What a producer says of itself when its broker falls silent, over HTTP and to `--check`.

use crate::support::{Producer, command};
use pumasi_testkit::{
    http::probe,
    process::until,
    proxy::Proxy,
    rabbitmq::{RabbitMq, Version},
};

#[test]
fn a_producer_whose_broker_falls_silent_is_not_ready_until_it_speaks_again() {
    for version in Version::ALL {
        if let Err(missing) = version.available() {
            eprintln!("left out: {missing}");
            continue;
        }
        let node = RabbitMq::shared(version);
        let proxy = Proxy::to(node.port());
        let (direct, through) = (format!(":{}/", node.port()), format!(":{}/", proxy.port()));
        let url = node.new_vhost_url().replace(&direct, &through);
        let settings = [
            ("PUMASI__BROKER__HEARTBEAT", "1s"),
            ("PUMASI__BROKER__CONNECT_TIMEOUT", "2s"),
        ];
        let producer = Producer::on(&url, &settings);
        let ready = || probe(producer.health, "/readyz").status;
        let check = |probe: &str| {
            let listen = producer.health.to_string();
            let mut command = command();
            let command = command.env("PUMASI__HEALTH__LISTEN", listen).arg(probe);
            let output = command.output().unwrap();
            (
                output.status.code(),
                String::from_utf8(output.stderr).unwrap(),
            )
        };
        assert_eq!(ready(), 200);
        assert_eq!(check("--check"), (Some(0), String::new()));
        proxy.swallow();
        until("a lost broker", || ready() == 503);
        let (status, said) = check("--check");
        assert_eq!(status, Some(1));
        assert!(
            said.starts_with("not ready: the broker is away: "),
            "{said}"
        );
        assert_eq!(check("--check=live"), (Some(0), String::new()));
        proxy.heal();
        until("a broker that is back", || ready() == 200);
        assert_eq!(check("--check"), (Some(0), String::new()));
    }
}
