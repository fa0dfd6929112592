//! cargo xtask demo, test, ci, bench: everything a person would otherwise script
fn main() {}
