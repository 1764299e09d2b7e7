//! `muster links export`: all links as CSV, in a form that `import` takes.

use std::io::Write;
use std::path::Path;

use anyhow::Context;
use serde_json::json;

use super::Desk;
use super::list::{Paired, Pairs};
use crate::broker::Broker;
use crate::ops::exit::Exit;
use crate::ops::output::{self, Form};
use crate::stages::Pipeline;
use crate::store::Store;

/// Writes the links of the connection.
pub(super) async fn run<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    desk: &Desk<'_>,
    to: Option<&Path>,
    form: Form,
) -> anyhow::Result<Exit> {
    let mut sheet = Sheet::new(to, &["a", "b", "a_system", "b_system", "state"])?;
    let systems = &desk.connection.systems;
    let mut pairs = Pairs::new(pipeline, desk);
    while let Some(page) = pairs.next().await? {
        for Paired { a, b, state, .. } in page.into_iter().filter(|pair| !pair.parted) {
            sheet.row(&[a.as_str(), b.as_str(), systems.a.as_str(), systems.b.as_str(), state])?;
        }
    }
    sheet.finish("link", form)
}

/// A CSV file that is being written, or standard output.
pub(super) struct Sheet<'s> {
    writer: csv::Writer<Box<dyn Write + Send>>,
    to: Option<&'s Path>,
    rows: usize,
}

impl<'s> Sheet<'s> {
    /// Begins one with this header.
    pub(super) fn new(to: Option<&'s Path>, header: &[&str]) -> anyhow::Result<Self> {
        let out: Box<dyn Write + Send> = match to {
            Some(path) => {
                let file = std::fs::File::create(path);
                Box::new(file.with_context(|| format!("{} cannot be written", path.display()))?)
            }
            None => Box::new(std::io::stdout()),
        };
        let mut writer = csv::Writer::from_writer(out);
        written(writer.write_record(header))?;
        Ok(Self { writer, to, rows: 0 })
    }

    pub(super) fn row(&mut self, cells: &[&str]) -> anyhow::Result<()> {
        self.rows += 1;
        written(self.writer.write_record(cells.iter().map(|cell| harmless(cell))))
    }

    /// Ends it, and says how many rows of what a file has now.
    pub(super) fn finish(mut self, what: &str, form: Form) -> anyhow::Result<Exit> {
        written(self.writer.flush().map_err(Into::into))?;
        match (self.to, form) {
            (Some(path), Form::Json) => output::object(&json!({ "file": path, "rows": self.rows })),
            (Some(path), Form::Text) => {
                output::line(format!("{}: {}", path.display(), output::count(self.rows, what)));
            }
            (None, _) => {}
        }
        Ok(Exit::Done)
    }
}

/// A cell that no spreadsheet takes for a formula, whatever somebody chose as a name.
fn harmless(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    if formula { format!("'{cell}") } else { cell.to_owned() }
}

fn written(result: Result<(), csv::Error>) -> anyhow::Result<()> {
    match result {
        Err(error) if matches!(error.kind(), csv::ErrorKind::Io(io) if io.kind() == std::io::ErrorKind::BrokenPipe) => {
            // A reader that has gone away is no failure, as for every other output.
            std::process::exit(0)
        }
        other => Ok(other?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_becomes_a_formula() {
        for (cell, written) in [("Ada", "Ada"), ("=1+1", "'=1+1"), ("@x", "'@x"), ("", ""), ("a=b", "a=b")] {
            assert_eq!(harmless(cell), written);
        }
    }
}
