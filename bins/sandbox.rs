//! `muster-sandbox`: imitations of a Salesforce org and a SCIM service, for trying Muster.

use clap::Parser;
use muster::sandbox::cli::{self, Arguments};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    cli::run(Arguments::parse()).await
}
