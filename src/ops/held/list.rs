//! `muster held list`.

use super::{Filter, counted, gather};
use crate::broker::Broker;
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::stages::Pipeline;
use crate::store::Store;

/// Lists what is held, the longest waiting first.
pub async fn list<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    filter: &Filter,
    limit: Option<usize>,
    form: Form,
) -> anyhow::Result<Exit> {
    let items = gather(pipeline, filter).await?;
    let shown = limit.unwrap_or(usize::MAX);
    if form == Form::Json {
        items.iter().take(shown).for_each(|item| output::object(&item.json()));
    } else if items.is_empty() {
        output::line("Nothing is held");
    } else {
        let mut table = output::table(&["ACCOUNT", "WHAT", "KIND", "REASON", "STATE", "SINCE"]);
        for item in items.iter().take(shown) {
            let ruling = item.stop.as_ref().and_then(|stop| stop.ruling.as_ref());
            let state = match ruling {
                Some(ruling) => format!("{} by {} {}", item.state.as_str(), ruling.by, ruling.at),
                None => item.state.as_str().to_owned(),
            };
            table.add_row([
                item.name(),
                item.what(),
                item.risk().to_owned(),
                item.reason().to_owned(),
                state,
                item.since.to_string(),
            ]);
        }
        output::print(&table);
        if items.len() > shown {
            output::line(format!("... and {} more: --limit shows more of them", items.len() - shown));
        }
        output::line(format!(
            "{}; let them pass with `muster held approve`, or refuse them with `muster held reject`",
            counted(items.len())
        ));
    }
    Ok(if items.is_empty() { Exit::Done } else { Exit::Attention })
}
