//! `pumasi queue list` on brokers that can list and on those that cannot.

use crate::{
    broker::on_every_broker,
    process::{lines, pumasi, run},
};
use pumasi_testkit::rabbitmq::{RabbitMq, Version};
use serde_json::Value;

#[test]
fn a_list_that_may_be_incomplete_says_so() {
    on_every_broker(|broker| {
        lines(&broker.url, &["queue", "declare", "unnamed"]);
        let output = run(&broker.url, &["queue", "list"]);
        let listed = String::from_utf8_lossy(&output.stdout).contains("unnamed");
        let said = String::from_utf8_lossy(&output.stderr).contains("that the configuration names");
        assert_ne!(listed, said, "{}: {output:?}", broker.url);
    });
}

#[test]
fn with_the_management_api_every_queue_is_listed() {
    for version in Version::ALL {
        if let Err(missing) = version.available() {
            eprintln!("left out: {missing}");
            continue;
        }
        let (node, api) = RabbitMq::start_with_management(version);
        let url = node.new_vhost_url();
        lines(&url, &["submit", "-q", "steady", "x"]);
        lines(&url, &["queue", "declare", "plain", "--kind", "classic"]);
        lines(&node.new_vhost_url(), &["queue", "declare", "elsewhere"]);
        let output = pumasi(&url, &["--json", "queue", "list"])
            .env("PUMASI__BROKER__MANAGEMENT_URL", &api)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
        let told: Vec<Value> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        let shown: Vec<String> = told
            .iter()
            .map(|queue| format!("{} {} {}", queue["name"], queue["kind"], queue["ready"]))
            .collect();
        assert_eq!(
            shown,
            [
                r#""plain" "classic" 0"#,
                r#""plain.dead" "classic" 0"#,
                r#""steady" "quorum" 1"#,
                r#""steady.dead" "quorum" 0"#,
            ]
        );
        // Without the tag, a user may use the broker and not its API.
        let user = node.new_user_url(&url, [".*", ".*", ".*"]);
        let output = pumasi(&user, &["queue", "list"])
            .env("PUMASI__BROKER__MANAGEMENT_URL", &api)
            .output()
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(69), "{errors}");
        assert!(errors.contains("error[PU2004]: not permitted: the management API refused user"));
        assert!(!errors.contains("hunter2"));
    }
}
