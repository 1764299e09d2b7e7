//! What the command line prints: tables for people, JSON for machines, progress for those who wait at a terminal.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// For machines: lists one object a line, everything else one object.
    Json,
}

/// Prints a line. A reader that has gone away (`muster status | head -1`) is no failure.
pub fn line(text: impl std::fmt::Display) {
    let mut out = std::io::stdout().lock();
    if writeln!(out, "{text}").is_err() {
        std::process::exit(0);
    }
}

/// Prints one object.
pub fn object(value: &impl Serialize) {
    line(serde_json::to_string(value).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}")));
}

/// A table without lines, as wide as the terminal at most.
pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.to_vec());
    table.column_iter_mut().for_each(|column| {
        column.set_padding((0, 2));
    });
    if std::io::stdout().is_terminal() {
        let (_, columns) = console::Term::stdout().size();
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
    }
    table
}

/// Prints a table.
pub fn print(table: &Table) {
    for row in table.lines() {
        line(row.trim_end());
    }
}

/// A number of things for people: `1 letter`, `2 letters`.
pub fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// A size for people: `512 B`, `3.4 MB`.
pub fn bytes(bytes: u64) -> String {
    let units = ["kB", "MB", "GB", "TB"];
    let mut size = bytes as f64;
    let mut name = "B";
    for unit in units {
        // What would be shown as 1000 is one of the next unit.
        if size < 999.5 {
            break;
        }
        (size, name) = (size / 1000.0, unit);
    }
    if name == "B" { format!("{bytes} B") } else { format!("{size:.1} {name}") }
}

/// A duration for people: `350 ms`, `4.2 s`, `3 min 5 s`.
pub fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.1} s", duration.as_secs_f64()),
        60..3600 if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ if seconds % 3600 < 60 => format!("{} h", seconds / 3600),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        for (size, text) in
            [(0, "0 B"), (999, "999 B"), (1_000, "1.0 kB"), (3_400_000, "3.4 MB"), (u64::MAX, "18446744.1 TB")]
        {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn durations_are_short() {
        for (millis, text) in [
            (350, "350 ms"),
            (4_200, "4.2 s"),
            (185_000, "3 min 5 s"),
            (900_000, "15 min"),
            (3_600_000, "1 h"),
            (7_260_000, "2 h 1 min"),
        ] {
            assert_eq!(duration(Duration::from_millis(millis)), text);
        }
    }
}
