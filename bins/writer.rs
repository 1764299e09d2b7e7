//! `muster-writer`: brings accounts up to date, with retries and dead letters.

use std::process::ExitCode;

use muster::ops::worker::{self, Role};

#[tokio::main]
async fn main() -> ExitCode {
    worker::main(Role::Writer).await
}
