//! Text of queries: literals, times, and the conditions by which rows are found.

use std::fmt::Write as _;

use crate::domain::{AccountId, Timestamp};

/// A string literal, quoted.
pub fn quoted(text: &str) -> String {
    let mut literal = String::with_capacity(text.len() + 2);
    literal.push('\'');
    for c in text.chars() {
        match c {
            '\'' | '\\' => literal.extend(['\\', c]),
            '\n' => literal.push_str("\\n"),
            '\r' => literal.push_str("\\r"),
            '\t' => literal.push_str("\\t"),
            // Any other control character has only its number.
            c if c.is_control() => write!(literal, "\\u{:04X}", u32::from(c)).expect("writing to a string"),
            c => literal.push(c),
        }
    }
    literal.push('\'');
    literal
}

/// Bytes that a literal and the comma before the next one may take in an address.
pub fn literal_bytes(text: &str) -> usize {
    let encoded = |byte: u8| if byte.is_ascii_alphanumeric() || b"-._* ".contains(&byte) { 1 } else { 3 };
    // `%27` twice and `%2C`; what has to be escaped for the literal takes a second character.
    quoted(text).bytes().skip(1).map(encoded).sum::<usize>() + 6
}

/// Bytes that the rest of a query for these fields may take in an address.
pub fn query_bytes(select: &str) -> usize {
    200 + select.len() * 3
}

/// A time literal, in whole seconds: what Salesforce compares.
pub fn time(time: Timestamp) -> String {
    Timestamp(time.0.div_euclid(1_000) * 1_000).to_string()
}

/// A time as Salesforce writes it: `2026-11-21T10:15:30.000+0000`.
pub fn parse_time(text: &str) -> Option<Timestamp> {
    text.parse::<jiff::Timestamp>().ok().map(|time| Timestamp(time.as_millisecond()))
}

/// Rows after this one, in the order of stamp and id. The stamp alone would skip rows that share it (R82).
pub fn after(stamp: Timestamp, id: &AccountId) -> String {
    let (stamp, id) = (time(stamp), quoted(id.as_str()));
    format!("(SystemModstamp = {stamp} AND Id > {id}) OR SystemModstamp > {stamp}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_cannot_be_left() {
        for (text, literal) in [
            ("ada@x.example", "'ada@x.example'"),
            ("O'Neill", r"'O\'Neill'"),
            (r"a\' OR Id != null", r"'a\\\' OR Id != null'"),
            ("a\nb\u{7}", r"'a\nb\u0007'"),
            ("Zoë", "'Zoë'"),
        ] {
            assert_eq!(quoted(text), literal);
        }
    }

    #[test]
    fn a_literal_is_as_long_in_an_address_as_is_reckoned() {
        for text in ["ada@x.example", "O'Neill", "Zoë", "005000000000001AAA", "a b\\c\n"] {
            let mut address: url::Url = "http://x/".parse().unwrap();
            address.query_pairs_mut().append_pair("", &format!("{},", quoted(text)));
            assert_eq!(literal_bytes(text), address.query().unwrap().len() - 1, "{text}");
        }
    }

    #[test]
    fn times_are_read_and_written_in_seconds() {
        let stamp = parse_time("2026-11-21T10:15:30.000+0000").unwrap();
        assert_eq!(stamp, parse_time("2026-11-21T11:15:30+01:00").unwrap());
        assert_eq!(time(stamp + std::time::Duration::from_millis(999)), "2026-11-21T10:15:30Z");
        assert_eq!(parse_time("yesterday"), None);
    }
}
