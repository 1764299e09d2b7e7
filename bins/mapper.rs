//! `muster-mapper`: decides what each change means and asks writers for what follows.

use std::process::ExitCode;

use muster::ops::worker::{self, Role};

#[tokio::main]
async fn main() -> ExitCode {
    worker::main(Role::Mapper).await
}
