//! A file is submitted while its connections are cut: what was told is true.

use crate::{
    broker::{TestBroker, on_every_rabbitmq},
    process::{Worker, pumasi, until},
};
use pumasi_testkit::proxy::{Cut, Proxy};
use std::{
    collections::HashSet,
    fmt::Write,
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStderr, Stdio},
    sync::mpsc::{Receiver, channel},
};

const TASKS: u32 = 20_000;

/// `pumasi submit --file` behind a proxy.
struct Submitter {
    child: Child,
    ids: Receiver<String>,
    told: Vec<String>,
    errors: BufReader<ChildStderr>,
    complaints: String,
}

impl Submitter {
    fn start(broker: &TestBroker, proxy: &Proxy, file: &str) -> Self {
        let from = format!(":{}/", broker.node.unwrap().port());
        let url = broker.url.replace(&from, &format!(":{}/", proxy.port()));
        let mut child = pumasi(&url, &["submit", "-q", "cut", "--file", file])
            .env("PUMASI__BROKER__HEARTBEAT", "1s")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (send, ids) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            errors: BufReader::new(child.stderr.take().unwrap()),
            child,
            ids,
            told: Vec::new(),
            complaints: String::new(),
        }
    }

    fn wait_for(&mut self, count: usize) {
        until("accepted tasks", || {
            self.told.extend(self.ids.try_iter());
            self.told.len() >= count
        });
    }

    /// Waits until it says that it waits.
    fn wait_for_complaint(&mut self) {
        while !self.complaints.contains("cannot publish yet") {
            let read = self.errors.read_line(&mut self.complaints).unwrap();
            assert!(read > 0, "it ended: {}", self.complaints);
        }
    }

    /// Its ids, exit status and standard error.
    fn end(mut self) -> (Vec<String>, Option<i32>, String) {
        let mut errors = self.complaints;
        self.errors.read_to_string(&mut errors).unwrap();
        let status = self.child.wait().unwrap();
        self.told.extend(self.ids.iter());
        (self.told, status.code(), errors)
    }
}

#[test]
fn a_submitter_whose_connections_are_cut_tells_the_truth() {
    on_every_rabbitmq(|broker| {
        let file = tempfile::NamedTempFile::new().unwrap();
        let lines = (0..TASKS).fold(String::new(), |mut text, number| {
            writeln!(text, "{{\"id\":\"n{number}\",\"text\":\"n{number}\"}}").unwrap();
            text
        });
        std::fs::write(&file, lines).unwrap();
        let proxy = Proxy::to(broker.node.unwrap().port());
        let mut submitter = Submitter::start(broker, &proxy, file.path().to_str().unwrap());
        submitter.wait_for(500);
        proxy.cut(Cut::Reset);
        submitter.wait_for(4_000);
        proxy.cut(Cut::Finish);
        submitter.wait_for(8_000);
        let before = proxy.taken();
        proxy.swallow();
        until("another try", || proxy.taken() > before);
        proxy.heal();
        submitter.wait_for(12_000);
        proxy.refuse();
        submitter.wait_for_complaint();
        proxy.heal();
        let (told, status, errors) = submitter.end();
        assert_eq!(status, Some(0), "{errors}");
        assert!(
            errors.contains("accepted 20000, refused 0, unknown 0"),
            "{errors}"
        );
        assert!(!errors.contains(" ERROR "), "{errors}");
        println!("{errors}");

        let mut worker =
            Worker::start(&broker.url, &["-q", "cut", "-c", "16", "--prefetch", "200"]);
        let told: HashSet<String> = told.into_iter().collect();
        assert_eq!(told.len(), TASKS as usize);
        let mut done = HashSet::new();
        until("every accepted task", || {
            worker.listen();
            done.extend(std::mem::take(&mut worker.said));
            told.is_subset(&done)
        });
        worker.terminate();
        assert_eq!(worker.wait(), Some(0));
        assert_eq!(done, told);
    });
}
