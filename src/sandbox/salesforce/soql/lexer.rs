//! Words, numbers, strings, datetimes and signs of a SOQL text.

use super::malformed;
use crate::sandbox::salesforce::error::ApiError;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    /// A keyword, or a dotted name.
    Word(String),
    Text(String),
    Number(i64),
    /// Milliseconds since 1970.
    DateTime(i64),
    /// `( ) , = != < <= > >=`
    Sign(&'static str),
}

/// Splits a query into tokens.
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, ApiError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        if first.is_whitespace() {
            rest = rest.trim_start();
            continue;
        }
        let (token, length) = match first {
            '\'' => string(rest)?,
            '0'..='9' | '-' => number(rest)?,
            'a'..='z' | 'A'..='Z' | '_' => {
                let end =
                    rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == '.')).unwrap_or(rest.len());
                (Token::Word(rest[..end].to_owned()), end)
            }
            _ => sign(rest)?,
        };
        tokens.push(token);
        rest = &rest[length..];
    }
    Ok(tokens)
}

fn sign(rest: &str) -> Result<(Token, usize), ApiError> {
    // Longer signs first.
    for sign in ["!=", "<>", "<=", ">=", "(", ")", ",", "=", "<", ">"] {
        if rest.starts_with(sign) {
            return Ok((Token::Sign(if sign == "<>" { "!=" } else { sign }), sign.len()));
        }
    }
    Err(malformed(format!("unexpected character: '{}'", rest.chars().next().unwrap_or(' '))))
}

fn number(rest: &str) -> Result<(Token, usize), ApiError> {
    let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "-+:.".contains(c))).unwrap_or(rest.len());
    let word = &rest[..end];
    if let Ok(number) = word.parse() {
        return Ok((Token::Number(number), end));
    }
    // A date alone is the beginning of that day.
    let day = format!("{word}T00:00:00Z");
    let at: jiff::Timestamp =
        word.parse().or_else(|_| day.parse()).map_err(|_| malformed(format!("unexpected token: '{word}'")))?;
    Ok((Token::DateTime(at.as_millisecond()), end))
}

fn string(rest: &str) -> Result<(Token, usize), ApiError> {
    let mut text = String::new();
    let mut letters = rest.char_indices().skip(1);
    while let Some((place, letter)) = letters.next() {
        match letter {
            '\'' => return Ok((Token::Text(text), place + 1)),
            '\\' => match letters.next().map(|(_, escaped)| escaped) {
                Some('n' | 'N') => text.push('\n'),
                Some('r' | 'R') => text.push('\r'),
                Some('t' | 'T') => text.push('\t'),
                Some('b' | 'B') => text.push('\u{8}'),
                Some('f' | 'F') => text.push('\u{c}'),
                Some(quote @ ('"' | '\'')) => text.push(quote),
                Some('\\') => text.push('\\'),
                // Kept for LIKE, which reads them as a letter and not as a wildcard.
                Some(wildcard @ ('_' | '%')) => text.extend(['\\', wildcard]),
                Some('u') => {
                    let digits: String = letters.by_ref().take(4).map(|(_, digit)| digit).collect();
                    let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                    text.push(code.ok_or_else(|| malformed("invalid unicode escape"))?);
                }
                _ => return Err(malformed("Illegal character sequence: a backslash before what needs none")),
            },
            letter => text.push(letter),
        }
    }
    Err(malformed("string literal is not closed"))
}
