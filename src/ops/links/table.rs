//! A CSV file of pairs, as spreadsheets and reports have them: which columns count, and what each row says. Cells are only
//! ever taken for ids: nothing else of a row is shown, since it may hold anything.

use crate::domain::{AccountId, Side, Sides};
use crate::ops::sync::UsageError;

use super::columns::{Names, plain};

/// What a header that names the system of an external id is called.
const SYSTEM: &str = "system";

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// Its first line in the file, from 1.
    pub(super) line: u64,
    /// What it says.
    pub(super) says: Says,
}

/// What a row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Says {
    /// These two are to be partners.
    Pair(Sides<AccountId>),
    /// Nothing that can be used.
    Bad { code: &'static str, reason: String },
    /// Nothing about this connection.
    Nothing { reason: String },
}

/// How the file is read.
pub(super) struct Reading<'r> {
    /// What is known of each side's column.
    pub(super) names: &'r Sides<Names>,
    /// Headers that a person gave.
    pub(super) given: &'r Sides<Option<String>>,
    /// Brings an id to the form that its system gives it.
    pub(super) parse: &'r dyn Fn(Side, &str) -> Option<AccountId>,
}

/// Reads a file.
///
/// # Errors
/// It has no header, or none that tells which column has whose accounts.
pub(super) fn read(bytes: &[u8], reading: &Reading<'_>) -> Result<Vec<Row>, UsageError> {
    let refuse = |text: String| UsageError::new(text);
    if bytes.starts_with(&[0xFF, 0xFE]) || bytes.starts_with(&[0xFE, 0xFF]) {
        return Err(refuse("the file is UTF-16: save it as \"CSV UTF-8\"".to_owned()));
    }
    let bytes = bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes);
    let Layout { delimiter, body, first_line } = layout(bytes);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(body);
    let mut record = csv::ByteRecord::new();
    // A reader of bytes in memory fails at nothing.
    let mut next = |record: &mut csv::ByteRecord| reader.read_byte_record(record).unwrap_or(false);
    if !next(&mut record) {
        return Err(refuse("the file is empty".to_owned()));
    }
    let header: Vec<String> = record.iter().map(|cell| plain(&String::from_utf8_lossy(cell))).collect();
    let columns = columns(&header, reading)?;
    let mut rows = Vec::new();
    let mut lines = Lines { body, at: 0, line: first_line + 1 };
    while next(&mut record) {
        let line = lines.of(record.position().map_or(0, csv::Position::byte));
        let cells: Vec<_> = record.iter().map(|cell| String::from_utf8_lossy(cell)).collect();
        if cells.iter().any(|cell| !cell.is_empty()) {
            rows.push(Row { line, says: columns.row(&cells, header.len(), reading) });
        }
    }
    Ok(rows)
}

/// Counts the lines of a file. The reader's own count is one behind where lines end as Windows ends them.
struct Lines<'b> {
    body: &'b [u8],
    at: u64,
    line: u64,
}

impl Lines<'_> {
    /// The line of the row that begins at `byte`, or behind empty lines there.
    fn of(&mut self, byte: u64) -> u64 {
        let rest = self.body.iter().skip(usize::try_from(self.at).unwrap_or(usize::MAX));
        for next in rest {
            if self.at >= byte && !matches!(next, b'\r' | b'\n') {
                break;
            }
            self.at += 1;
            self.line += u64::from(*next == b'\n');
        }
        self.line
    }
}

/// How a file separates its cells, and where its rows begin.
struct Layout<'b> {
    delimiter: u8,
    body: &'b [u8],
    /// Lines before the body.
    first_line: u64,
}

fn layout(bytes: &[u8]) -> Layout<'_> {
    let first = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    // Excel writes the delimiter into the first line of some files.
    if let [b's', b'e', b'p', b'=', delimiter, ..] = first {
        return Layout { delimiter: *delimiter, body: bytes.get(first.len() + 1..).unwrap_or_default(), first_line: 1 };
    }
    let mut quoted = false;
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0)];
    for byte in first {
        quoted ^= *byte == b'"';
        if let Some((_, count)) = counts.iter_mut().find(|(delimiter, _)| delimiter == byte && !quoted) {
            *count += 1;
        }
    }
    // The first of those that occur most.
    let delimiter = counts.iter().rev().max_by_key(|(_, count)| *count).map_or(b',', |(delimiter, _)| *delimiter);
    Layout { delimiter, body: bytes, first_line: 0 }
}

/// Where in a row the accounts are.
struct Columns {
    /// Their places. One that both share is told by the ids of one side being those of the other.
    of: Sides<usize>,
    /// The place of the name of the system that the id on the other side is of.
    system: Option<usize>,
}

fn columns(header: &[String], reading: &Reading<'_>) -> Result<Columns, UsageError> {
    let place = |name: &String| header.iter().position(|known| known == name);
    let mut of = Sides::from_fn(|side| match &reading.given[side] {
        Some(given) => place(&plain(given)),
        None => reading.names[side].headers.iter().find_map(place),
    });
    for side in Side::BOTH {
        if let (Some(given), None) = (&reading.given[side], of[side]) {
            return Err(UsageError::new(format!("the file has no column {given:?}")));
        }
    }
    let mut system = None;
    for side in Side::BOTH {
        if reading.names[side].partners {
            match (of[side], of[side.other()]) {
                (Some(own), None) => {
                    of[side.other()] = Some(own);
                    system = header.iter().position(|known| known == SYSTEM);
                }
                (None, Some(partner)) => of[side] = Some(partner),
                (None, None) | (Some(_), Some(_)) => {}
            }
        }
    }
    match of {
        Sides { a: Some(a), b: Some(b) } if a != b || reading.names.a.partners || reading.names.b.partners => {
            Ok(Columns { of: Sides { a, b }, system })
        }
        Sides { a: Some(_), b: Some(_) } => {
            Err(UsageError::new("one column is named for both sides; name them with --a and --b".to_owned()))
        }
        _ => {
            let side = if of.a.is_none() { Side::A } else { Side::B };
            let known: Vec<_> = reading.names[side].headers.iter().map(|name| format!("\"{name}\"")).collect();
            Err(UsageError::new(format!(
                "the file has no column of the accounts of side {side}: one of {}; or name it with --{side}",
                known.join(", ")
            )))
        }
    }
}

impl Columns {
    fn row(&self, cells: &[std::borrow::Cow<'_, str>], width: usize, reading: &Reading<'_>) -> Says {
        let cell = |place: usize| cells.get(place).map(AsRef::as_ref).filter(|cell: &&str| !cell.is_empty());
        let filled = cells.iter().filter(|cell| !cell.is_empty()).count();
        let ids = Sides::from_fn(|side| cell(self.of[side]).map(|cell| (reading.parse)(side, cell)));
        let is_any_id = matches!(ids, Sides { a: Some(Some(_)), .. } | Sides { b: Some(Some(_)), .. });
        // Reports end with their own name, who made them, and a notice.
        if width > 1 && filled == 1 && !is_any_id {
            return Says::Nothing { reason: "not a row of the table".to_owned() };
        }
        if let Some(named) = self.system.and_then(cell).map(plain) {
            let called = reading.names.a.called.iter().chain(&reading.names.b.called);
            if !called.into_iter().any(|called| named.split(' ').any(|word| word == called) || named == *called) {
                return Says::Nothing { reason: "about another system".to_owned() };
            }
        }
        for side in Side::BOTH {
            let bad = |code, what: &str| Says::Bad { code, reason: format!("side {side}: {what}") };
            match &ids[side] {
                None => return bad("no_id", "the row names no account"),
                // The text is not shown: whoever names the wrong column may have named one with secrets.
                Some(None) => return bad("not_an_id", "what the row has is no account id there"),
                Some(Some(_)) => {}
            }
        }
        match ids {
            Sides { a: Some(Some(a)), b: Some(Some(b)) } => Says::Pair(Sides { a, b }),
            _ => unreachable!("both were looked at"),
        }
    }
}

#[cfg(test)]
mod tests;
