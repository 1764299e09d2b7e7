//! `muster-producer`: reads the accounts of each system and publishes what it sees.

use std::process::ExitCode;

use muster::ops::worker::{self, Role};

#[tokio::main]
async fn main() -> ExitCode {
    worker::main(Role::Producer).await
}
