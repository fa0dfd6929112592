//! What the service says when it is asked for help.

use pumasi_testkit::golden::{golden, help};
use std::path::Path;

#[test]
fn the_help_is_the_one_that_was_read_and_approved() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/help.txt");
    golden(&file, &help(env!("CARGO_BIN_EXE_pumasi-worker")));
}
