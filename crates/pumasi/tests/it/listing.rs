//! `pumasi queue list` on brokers that can list and on those that cannot.

use crate::{
    broker::on_every_broker,
    process::{lines, run},
};

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
