//! Figures that a passing test leaves behind. The test harness keeps what `println!` says to itself unless a test fails.

use std::fmt::Display;
use std::io::Write;

/// Shows a line whether or not the test passes.
pub fn show(line: impl Display) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap();
}
