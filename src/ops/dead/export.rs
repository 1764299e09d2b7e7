//! `muster dead export`: open letters for other programs, as JSON lines or CSV.

use std::io::{BufWriter, Write as _};

use super::select::Letters;
use super::{remedy, shown};
use crate::broker::Broker;
use crate::domain::redrive::Which;
use crate::domain::{AttributePath, ConnectionName, SystemName};
use crate::ops::exit::Exit;
use crate::stages::Pipeline;
use crate::store::Store;

/// In which form letters are exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line.
    Json,
    /// Comma-separated values with a heading, for a spreadsheet.
    Csv,
}

const COLUMNS: [&str; 16] = [
    "letter",
    "connection",
    "target",
    "class",
    "code",
    "attribute",
    "account",
    "partner",
    "first_at",
    "last_at",
    "failures",
    "message",
    "first_message",
    "status",
    "request_id",
    "remedy",
];

/// Writes the letters that are meant to standard output, oldest first. `values`: the bytes of messages too, in JSON.
pub async fn export<B: Broker, S: Store>(
    pipeline: &Pipeline<B, S>,
    which: &Which,
    format: Format,
    values: bool,
) -> anyhow::Result<Exit> {
    let mut letters = Letters::of(pipeline, which, None).await?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    if format == Format::Csv {
        row(&mut out, &COLUMNS.map(str::to_owned))?;
    }
    while let Some(letter) = letters.next(pipeline).await? {
        let advice = remedy(pipeline, &letter.fingerprint);
        if format == Format::Json {
            let mut object = shown(&letter, values);
            object["remedy"] = advice.into();
            serde_json::to_writer(&mut out, &object)?;
            out.write_all(b"\n")?;
            continue;
        }
        let print = &letter.fingerprint;
        let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
        row(
            &mut out,
            &[
                letter.id.to_string(),
                text(letter.connection.as_ref().map(ConnectionName::as_str)),
                text(print.target.as_ref().map(SystemName::as_str)),
                print.class.to_string(),
                print.code.to_string(),
                text(print.attribute.as_ref().map(AttributePath::as_str)),
                text(letter.account.as_ref().map(|account| account.as_str())),
                text(letter.partner.as_ref().map(|account| account.as_str())),
                letter.first_at.to_string(),
                letter.last_at.to_string(),
                letter.failures.to_string(),
                letter.message.clone(),
                text(letter.first_message.as_deref()),
                text(letter.status.map(|status| status.to_string()).as_deref()),
                text(letter.request_id.as_deref()),
                advice.to_owned(),
            ],
        )?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

/// Writes a row. A cell that a spreadsheet would take for a formula gets a quotation mark in front: ids and messages
/// come from outside.
fn row(out: &mut impl std::io::Write, cells: &[String]) -> anyhow::Result<()> {
    let safe = |cell: &String| match cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        true => format!("'{cell}"),
        false => cell.clone(),
    };
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(cells.iter().map(safe))?;
    out.write_all(&writer.into_inner().map_err(|error| error.into_error())?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_is_no_formula_and_keeps_its_commas() {
        let mut out = Vec::new();
        row(&mut out, &["=1+1".to_owned(), "a, \"b\"".to_owned()]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "'=1+1,\"a, \"\"b\"\"\"\n");
    }
}
