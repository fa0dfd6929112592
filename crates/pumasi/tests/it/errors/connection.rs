//! The broker is not there, or does not let us in, or not everywhere.

use super::check;
use crate::{
    broker::{TestBroker, on_every_rabbitmq},
    process::{Worker, lines, ready, run, until},
};

#[test]
fn an_absent_broker_is_named_without_the_password() {
    let port = pumasi_testkit::rabbitmq::free_port();
    let output = run(
        &format!("amqp://u:hunter2@127.0.0.1:{port}"),
        &["submit", "x"],
    );
    check(&output, 69, &["error[PU2001]", "127.0.0.1"]);
}

#[test]
fn a_wrong_password_and_a_missing_virtual_host_are_told_apart() {
    on_every_rabbitmq(|broker| {
        let port = broker.node.unwrap().port();
        let output = run(
            &format!("amqp://guest:hunter2@127.0.0.1:{port}"),
            &["submit", "x"],
        );
        check(
            &output,
            69,
            &[
                "error[PU2002]",
                "the login of user `guest` was refused",
                "help:  check the user and the password",
            ],
        );
        let output = run(
            &format!("amqp://guest:guest@127.0.0.1:{port}/nowhere"),
            &["queue", "list"],
        );
        check(
            &output,
            69,
            &[
                "error[PU2003]",
                "the virtual host `nowhere` does not exist",
                "rabbitmqctl add_vhost",
            ],
        );
    });
}

#[test]
fn a_password_file_that_cannot_be_read_is_named() {
    on_every_rabbitmq(|broker| {
        let mut command = crate::process::pumasi(&broker.url, &["queue", "list"]);
        command.env("PUMASI__BROKER__PASSWORD_FILE", "/no/such/secret");
        let output = command.output().unwrap();
        check(&output, 64, &["error[PU1002]", "/no/such/secret"]);
    });
}

#[test]
fn each_missing_permission_is_named_and_no_other_user_is_affected() {
    on_every_rabbitmq(|broker| {
        let user = |permissions| broker.node.unwrap().new_user_url(&broker.url, permissions);
        lines(&broker.url, &["queue", "declare", "work"]);
        lines(&broker.url, &["submit", "-q", "work", "one"]);

        let no_configure = user(["", ".*", ".*"]);
        check(
            &run(&no_configure, &["queue", "declare", "mine"]),
            69,
            &[
                "error[PU2004]: cannot declare queue `mine.dead`",
                "help:  grant the user configure permission",
            ],
        );
        lines(
            &no_configure,
            &["submit", "--no-declare", "-q", "work", "two"],
        );

        let no_write = user([".*", "work.dead", ".*"]);
        check(
            &run(&no_write, &["submit", "--no-declare", "-q", "work", "x"]),
            69,
            &[
                "error[PU2004]: publishing to queue `work` is not permitted",
                "help:  grant the user",
            ],
        );

        let no_read = user([".*", ".*", ""]);
        check(
            &run(&no_read, &["worker", "--no-declare", "-q", "work"]),
            69,
            &[
                "error[PU2004]: cannot consume from queue `work`",
                "help:  grant the user read permission",
            ],
        );
        lines(&no_read, &["submit", "--no-declare", "-q", "work", "three"]);

        let mut worker = Worker::start(&broker.url, &["-q", "work", "-c", "1"]);
        assert_eq!(worker.wait_for_lines(3), ["one", "two", "three"]);
        until("an empty queue", || ready(&broker.url, "work") == 0);
    });
}

#[test]
fn an_address_that_is_none_is_explained() {
    for (url, problem) in [
        ("localhost", "it has no scheme"),
        ("http://localhost", "unknown scheme"),
        ("amqp://u:hunter2@h:none/", "the port of host `h`"),
        ("amqp://u:hunter2@h?heartbeat=3", "[broker] section"),
        ("sqlite:", "names no file"),
    ] {
        check(
            &run(url, &["queue", "list"]),
            64,
            &["error[PU1001]", problem],
        );
    }
}

#[test]
fn a_store_in_a_folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let url = format!("sqlite:{}/q.db", file.path().display());
    check(&run(&url, &["queue", "list"]), 69, &["error[PU6001]"]);
    let broker = TestBroker::embedded();
    lines(&broker.url, &["submit", "x"]);
}
