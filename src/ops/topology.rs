//! `muster topology`: declares the queues and lists them, for brokers where the workers' account may not.

use super::exit::Exit;
use super::output::{self, Form};
use crate::broker::Broker;
use crate::stages::Pipeline;
use crate::store::Store;

/// Declares and lists.
pub async fn run<B: Broker, S: Store>(pipeline: &Pipeline<B, S>, form: Form) -> anyhow::Result<Exit> {
    let queues = pipeline.queues();
    pipeline.broker.declare(&queues).await?;
    let depths = pipeline.broker.depths(&queues).await?;
    match form {
        Form::Json => {
            for depth in depths {
                output::object(&serde_json::json!({ "queue": depth.name, "messages": depth.ready }));
            }
        }
        Form::Text => {
            let mut table = output::table(&["QUEUE", "MESSAGES"]);
            for depth in depths {
                table.add_row([depth.name, depth.ready.to_string()]);
            }
            output::print(&table);
        }
    }
    Ok(Exit::Done)
}
