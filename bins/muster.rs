//! `muster`: the command line.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    muster::ops::cli::main().await
}
