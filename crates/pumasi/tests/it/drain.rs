//! A worker that is told twice to stop.

use crate::{
    broker::on_every_broker,
    gate::Gate,
    process::{lines, pumasi, ready, until},
};

#[test]
fn a_second_signal_ends_a_worker_at_once_and_its_task_goes_to_another() {
    on_every_broker(|broker| {
        let url = &broker.url;
        let gate = Gate::new();
        // Longer than any test waits: only the second signal can end it.
        let arguments = ["worker", "-q", "hurry", "-c", "1", "--drain-timeout", "1h"];
        let mut first = gate.worker(pumasi(url, &arguments), "first");
        lines(url, &["submit", "-q", "hurry", "stuck"]);
        until("the task to start", || gate.started("first") == ["stuck"]);
        first.terminate();
        until("the drain", || first.has_logged("drain started"));
        first.terminate();
        assert_eq!(first.wait(), Some(0), "{url}: {:?}", first.log());
        assert!(first.has_logged("stopping at once"), "{:?}", first.log());

        let mut second = gate.worker(pumasi(url, &arguments), "second");
        until("the task again", || gate.started("second") == ["stuck"]);
        gate.open("stuck");
        second.terminate();
        assert_eq!(second.wait(), Some(0));
        assert_eq!(ready(url, "hurry"), 0);
        assert_eq!(ready(url, "hurry.dead"), 0);
    });
}
