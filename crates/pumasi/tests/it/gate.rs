//! Tasks that last until the test lets them end, so that a fault hits the middle of one.

use crate::process::Worker;
use std::{path::PathBuf, process::Command};
use tempfile::TempDir;

/// Notes the task in the worker's file, then waits for a file named like the task.
const SCRIPT: &str = r#"read -r task; echo "$task" >>"$1/$2.started"
while [ ! -e "$1/$task.go" ]; do sleep 0.05; done"#;

/// A folder through which test and handlers speak.
pub(crate) struct Gate {
    folder: TempDir,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// Starts a worker of this name whose tasks wait at the gate.
    pub(crate) fn worker(&self, mut command: Command, name: &str) -> Worker {
        let folder = self.folder.path().to_str().unwrap();
        Worker::spawn({
            command.args(["--exec", "sh", "-c", SCRIPT, "sh", folder, name]);
            command
        })
    }

    /// The tasks that a worker has started, in their order.
    pub(crate) fn started(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.file(name, "started")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Lets every run of a task end.
    pub(crate) fn open(&self, task: &str) {
        std::fs::write(self.file(task, "go"), "").unwrap();
    }

    fn file(&self, name: &str, what: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.{what}"))
    }
}
